//! The files of a configuration as texts: what is parsed, stored as a version and compared by digest.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::lang::Lang;
use crate::text::Told;

/// At most so many files: a wrong directory (a home, a disk) must not be read to its end.
pub const FILES_MAX: usize = 5_000;
/// The largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// All files together, in bytes.
pub const TOTAL_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Folders inside folders.
const DEPTH_MAX: usize = 16;

/// All `.toml` files of a configuration directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// Each file's text by its path below the directory, parts separated by `/`.
    pub files: BTreeMap<String, String>,
    /// Files whose bytes are no UTF-8, each with the offset of the first bad byte: a diagnostic, not a failure.
    pub not_utf8: BTreeMap<String, usize>,
}

/// Why a directory could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The directory or a file in it could not be opened or read.
    #[error("cannot read `{}`; does it exist, and may this user read it?", path.display())]
    Read {
        /// What was being read.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// More than `FILES_MAX` files.
    #[error("`{}` holds more than {FILES_MAX} .toml files; is it a configuration directory?", path.display())]
    TooManyFiles {
        /// The directory.
        path: PathBuf,
    },
    /// More than `FILE_BYTES_MAX` in one file or `TOTAL_BYTES_MAX` in all.
    #[error(
        "`{}` is too large (a file may have {} KiB, all together {} MiB)",
        path.display(),
        FILE_BYTES_MAX / 1024,
        TOTAL_BYTES_MAX / 1024 / 1024
    )]
    TooLarge {
        /// The file at which the limit was passed.
        path: PathBuf,
    },
    /// Folders nested deeper than any configuration is, such as a symbolic link to a parent.
    #[error("`{}` lies too deep; is there a link to a parent folder?", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
    /// A pipe, a device or the like, which has no end to be read to.
    #[error("`{}` is not a regular file; remove it, or give it another ending than .toml", path.display())]
    NotAFile {
        /// It.
        path: PathBuf,
    },
    /// A file whose text cannot be taken as it is, and must not be left out.
    #[error("`{}` is not UTF-8 (byte {offset}); save it as UTF-8, and look at `haishin check`", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad byte.
        offset: usize,
    },
    /// A file's name is no UTF-8, so no slug can be made of it.
    #[error("the name of `{}` is not UTF-8; rename it", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
}

impl Told for SourceError {
    fn told(&self, lang: Lang) -> String {
        if lang == Lang::En {
            return self.to_string();
        }
        match self {
            Self::Read { path, .. } => {
                format!("「{}」を読めません。場所と読み取り権限を確かめてください", path.display())
            }
            Self::TooManyFiles { path } => format!(
                "「{}」には {FILES_MAX}個を超える .toml ファイルがあります。設定フォルダですか",
                path.display()
            ),
            Self::TooLarge { path } => format!(
                "「{}」が大きすぎます（1ファイル {} KiB、全部で {} MiB まで）",
                path.display(),
                FILE_BYTES_MAX / 1024,
                TOTAL_BYTES_MAX / 1024 / 1024
            ),
            Self::TooDeep { path } => {
                format!("「{}」は深すぎます。上のフォルダへのリンクがありませんか", path.display())
            }
            Self::NotAFile { path } => format!(
                "「{}」はふつうのファイルではありません。取り除くか、.toml で終わらない名前にしてください",
                path.display()
            ),
            Self::NotUtf8 { path, offset } => format!(
                "「{}」は UTF-8 ではありません（{offset}バイト目）。UTF-8 で保存し、haishin check で確かめてください",
                path.display()
            ),
            Self::Name { path } => {
                format!("「{}」の名前が UTF-8 ではありません。名前を変えてください", path.display())
            }
        }
    }
}

impl Source {
    /// Reads every `.toml` file below `directory`, bounded in number, size and depth. Files and folders whose
    /// name begins with `.` are left out (editors keep theirs there), and so is `imports/`, which holds column
    /// mappings of `haishin import`.
    pub fn read_dir(directory: &Path) -> Result<Self, SourceError> {
        let mut source = Source::default();
        let mut total = 0;
        let mut folders = vec![(directory.to_owned(), String::new(), 0)];
        while let Some((folder, prefix, depth)) = folders.pop() {
            if depth > DEPTH_MAX {
                return Err(SourceError::TooDeep { path: folder });
            }
            let unreadable = |source| SourceError::Read { path: folder.clone(), source };
            for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                // Metadata of what a link points to: systemd and Kubernetes place files as links.
                let kind = std::fs::metadata(&path)
                    .map_err(|source| SourceError::Read { path: path.clone(), source })?;
                let name = path.file_name().and_then(|name| name.to_str());
                let name = name.ok_or_else(|| SourceError::Name { path: path.clone() })?;
                let relative = format!("{prefix}{name}");
                if name.starts_with('.') || relative == "imports" {
                    continue;
                }
                if kind.is_dir() {
                    folders.push((path, format!("{relative}/"), depth + 1));
                } else if name.ends_with(".toml") {
                    if !kind.is_file() {
                        return Err(SourceError::NotAFile { path });
                    }
                    total += source.add(&path, relative, TOTAL_BYTES_MAX - total)?;
                }
            }
        }
        Ok(source)
    }

    /// Reads a directory whose files are to go live: all of them, or none.
    ///
    /// # Errors
    /// As [`Source::read_dir`], and where a file is not UTF-8.
    pub fn read_texts(directory: &Path) -> Result<BTreeMap<String, String>, SourceError> {
        let source = Self::read_dir(directory)?;
        match source.not_utf8.into_iter().next() {
            Some((path, offset)) => Err(SourceError::NotUtf8 { path: directory.join(path), offset }),
            None => Ok(source.files),
        }
    }

    /// Reads one file of at most so many bytes, and tells how many it has.
    fn add(&mut self, path: &Path, relative: String, room: u64) -> Result<u64, SourceError> {
        if self.files.len() + self.not_utf8.len() >= FILES_MAX {
            return Err(SourceError::TooManyFiles { path: path.to_owned() });
        }
        let most = room.min(FILE_BYTES_MAX);
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
        read.map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
        let size = bytes.len() as u64;
        if size > most {
            return Err(SourceError::TooLarge { path: path.to_owned() });
        }
        match String::from_utf8(bytes) {
            // Windows editors put a byte order mark in front; it is no part of the text.
            Ok(text) => {
                let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
                self.files.insert(relative, text);
            }
            Err(error) => {
                self.not_utf8.insert(relative, error.utf8_error().valid_up_to());
            }
        }
        Ok(size)
    }

    /// SHA-256 over the sorted paths and texts, each behind its length, so that no two sets of files share one.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (path, text) in &self.files {
            for part in [path, text] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part.as_bytes());
            }
        }
        hash.finalize().into()
    }
}

impl<P: Into<String>, T: Into<String>> FromIterator<(P, T)> for Source {
    fn from_iter<I: IntoIterator<Item = (P, T)>>(files: I) -> Self {
        let files = files.into_iter().map(|(path, text)| (path.into(), text.into())).collect();
        Source { files, not_utf8: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_text_between_files_changes_the_digest() {
        let one = Source::from_iter([("a", "bc"), ("d", "")]);
        let other = Source::from_iter([("a", "b"), ("cd", "")]);
        assert_ne!(one.digest(), other.digest());
        assert_eq!(one.digest(), Source::from_iter([("d", ""), ("a", "bc")]).digest());
    }

    #[test]
    fn a_directory_is_read_with_its_folders_and_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write("haishin.toml", "\u{feff}a = 1".as_bytes());
        write("campaigns/2026/winter.toml", b"");
        write("campaigns/sjis.toml", b"title = \"\x93\x7e\"");
        write("campaigns/.winter.toml.swp.toml", b"");
        write("imports/friends.toml", b"");
        write("notes.txt", b"");
        let source = Source::read_dir(dir.path()).unwrap();
        let paths: Vec<_> = source.files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["campaigns/2026/winter.toml", "haishin.toml"]);
        assert_eq!(source.files["haishin.toml"], "a = 1");
        assert_eq!(source.not_utf8["campaigns/sjis.toml"], 9);

        assert!(matches!(Source::read_texts(dir.path()), Err(SourceError::NotUtf8 { offset: 9, .. })));

        let endless = dir.path().join("campaigns/endless.toml");
        std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
        assert!(matches!(Source::read_dir(dir.path()), Err(SourceError::NotAFile { .. })));
        std::fs::remove_file(&endless).unwrap();

        write("big.toml", &vec![b'#'; FILE_BYTES_MAX as usize + 1]);
        assert!(matches!(Source::read_dir(dir.path()), Err(SourceError::TooLarge { .. })));
        assert!(matches!(Source::read_dir(&dir.path().join("none")), Err(SourceError::Read { .. })));
    }

    #[test]
    fn too_many_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..=FILES_MAX {
            std::fs::write(dir.path().join(format!("{n}.toml")), "").unwrap();
        }
        assert!(matches!(Source::read_dir(dir.path()), Err(SourceError::TooManyFiles { .. })));
    }
}
