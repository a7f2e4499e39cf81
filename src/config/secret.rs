//! Where secrets are, never what they are.

use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use secrecy::{ExposeSecret, SecretString};

use super::problem::{Expected, Problem};
use super::suggest;
use super::tree::{Item, Table};
use crate::lang::Lang;
use crate::text::Told;

/// Where a secret is kept. The secret itself is read when it is needed and never printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The first line of a file; a relative path counts from the configuration directory.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential (`LoadCredential=`), a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// Why a secret could not be read. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is not there or may not be read.
    #[error("cannot read the secret in `{}`; does it exist, and may this user read it?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is far larger than any secret.
    #[error("`{}` is too large to hold a secret; is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Nothing is in it.
    #[error("the secret in {place} is empty")]
    Empty {
        /// Where it was looked for.
        place: String,
    },
    /// The environment variable is not set.
    #[error("the environment variable `{name}` is not set")]
    NoVariable {
        /// Its name.
        name: String,
    },
    /// The process was not started with credentials.
    #[error("there is no $CREDENTIALS_DIRECTORY; add LoadCredential={name}:PATH to the systemd unit")]
    NoCredentials {
        /// The credential.
        name: String,
    },
}

impl Told for SecretError {
    fn told(&self, lang: Lang) -> String {
        if lang == Lang::En {
            return self.to_string();
        }
        match self {
            Self::Read { path, .. } => {
                format!("秘密の値「{}」を読めません。場所と読み取り権限を確かめてください", path.display())
            }
            Self::TooLarge { path } => {
                format!("「{}」は秘密の値にしては大きすぎます。ファイルを確かめてください", path.display())
            }
            Self::Empty { place } => format!("{place} の秘密の値が空です"),
            Self::NoVariable { name } => format!("環境変数 {name} がありません"),
            Self::NoCredentials { name } => format!(
                "$CREDENTIALS_DIRECTORY がありません。systemd のユニットに LoadCredential={name}:パス を書いてください"
            ),
        }
    }
}

const SECRET_BYTES_MAX: u64 = 16 * 1024;

impl SecretSource {
    /// Reads the secret. `environment` looks a variable up, so that tests need not touch the process's own.
    pub fn read(
        &self,
        directory: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<SecretString, SecretError> {
        match self {
            SecretSource::File(path) => read_file(&directory.join(path)),
            SecretSource::Env(name) => {
                let value =
                    environment(name).ok_or_else(|| SecretError::NoVariable { name: name.clone() })?;
                not_empty(value, format!("${name}"))
            }
            SecretSource::Credential(name) => {
                let folder = environment("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| SecretError::NoCredentials { name: name.clone() })?;
                read_file(&Path::new(&folder).join(name))
            }
        }
    }

    /// Parses `{ file = … }`, `{ env = … }` or `{ credential = … }`; a literal is refused.
    pub(super) fn parse(table: &Table<'_>, key: &'static str) -> Option<Self> {
        let item = table.get(key)?;
        Self::parse_item(&item, key)
    }

    pub(super) fn parse_item(item: &Item<'_>, key: &'static str) -> Option<Self> {
        if let toml::de::DeValue::String(_) = item.value {
            item.report(Problem::LiteralSecret { key: key.to_owned() });
            return None;
        }
        let table = item.table_as("secret", Expected::Secret)?;
        let which = table.one_of(&["file", "env", "credential"], true);
        let value = which.and_then(|which| table.get(which)).and_then(|value| {
            let text = value.text()?;
            let name_fits = which == Some("file") || !text.contains(['/', '=', '\0']);
            if text.is_empty() || !name_fits { value.bad(Expected::Name, text) } else { Some(text) }
        });
        table.finish();
        Some(match which? {
            "file" => SecretSource::File(PathBuf::from(value?)),
            "env" => SecretSource::Env(value?.to_owned()),
            _ => SecretSource::Credential(value?.to_owned()),
        })
    }
}

fn read_file(path: &Path) -> Result<SecretString, SecretError> {
    let unreadable = |source| SecretError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::TooLarge { path: path.to_owned() });
    }
    not_empty(text, format!("`{}`", path.display()))
}

/// Editors and `echo` leave a line end behind.
fn not_empty(text: String, place: String) -> Result<SecretString, SecretError> {
    let line = text.lines().next().unwrap_or("").trim();
    if line.is_empty() { Err(SecretError::Empty { place }) } else { Ok(line.into()) }
}

/// The text with everything that may be a secret replaced by `*`, byte for byte, so that places still hold: what
/// stands after the `=` of a key that sounds like a secret, and a password inside a URL. Works line by line,
/// since a file with broken syntax is shown too.
pub(super) fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut block: Option<&str> = None;
    let mut in_secret = false;
    for line in text.split_inclusive('\n') {
        if let Some(end) = block {
            let close = line.find(end).map(|n| n + end.len());
            push_stars(&mut out, line.get(..close.unwrap_or(line.len())).unwrap_or(line));
            out.push_str(line.get(close.unwrap_or(line.len())..).unwrap_or(""));
            block = if close.is_some() { None } else { block };
            continue;
        }
        if line.trim_start().starts_with('[') {
            in_secret = ["secret", "token"].iter().any(|word| line.contains(word));
        }
        let in_table = in_secret && !line.starts_with('[') && !says_where(line.trim_start());
        let value = secret_value(line).or_else(|| line.find('=').filter(|_| in_table));
        match value {
            Some(start) => {
                let (head, value) = line.split_at(start);
                out.push_str(head);
                push_stars(&mut out, value);
                block = [r#"""""#, "'''"].into_iter().find(|quotes| value.matches(quotes).count() == 1);
            }
            None => out.push_str(&mask_password(line)),
        }
    }
    out
}

/// Where the value of a key that sounds like a secret begins, unless it is a table that says where it is kept.
fn secret_value(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let sounds = ["secret", "token", "passw"].iter().filter_map(|word| lower.find(word)).min();
    let word = sounds.or_else(|| misspelt(line))?;
    // A marketer may write of secrets: inside quotes it is a sentence, in a comment an explanation.
    let before = line.get(..word)?;
    // A message's quote token is no secret of ours.
    if before.ends_with("quote_") {
        return None;
    }
    if before.contains('#') || before.matches('"').count() % 2 == 1 {
        return None;
    }
    let after = line.get(word..)?;
    let name = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
    // Without a sign the line is broken, and what follows the name is a secret all the same.
    let value = match after.find(['=', '＝', ':']) {
        Some(sign) => word + sign + after.get(sign..)?.chars().next()?.len_utf8(),
        None => word + name,
    };
    let rest = line.get(value..)?.trim_start();
    if says_places(rest) { None } else { Some(value) }
}

/// Whether this is a table that says where a secret is kept, or a list of such.
fn says_places(value: &str) -> bool {
    let inside = value.strip_prefix('[').unwrap_or(value).trim_start();
    let mut tables = inside.split('{');
    let begins = tables.next().is_some_and(|before| before.is_empty()) && inside.len() > 1;
    // Between two of them there is nothing that could be one itself.
    let is_place = |table: &str| {
        let (place, between) = table.split_once('}').unwrap_or((table, ""));
        let between = between.split('#').next().unwrap_or("");
        says_where(place.trim_start())
            && place.matches('=').count() == 1
            && between.chars().all(|c| c.is_whitespace() || matches!(c, ',' | ']'))
    };
    begins && tables.all(is_place)
}

/// Whether a line begins with a key that says where a secret is kept.
fn says_where(line: &str) -> bool {
    ["file", "env", "credential"]
        .iter()
        .any(|key| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')))
}

/// Where a line's key begins if it is nearly the name of a secret.
fn misspelt(line: &str) -> Option<usize> {
    let key = line.trim_start();
    let end = key.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-')).unwrap_or(key.len());
    suggest::nearest(key.get(..end)?, ["channel_secret", "access_token", "password"].into_iter())?;
    Some(line.len() - key.len())
}

/// `postgres://user:password@host` and `?password=…` with the password masked.
fn mask_password(line: &str) -> String {
    match password_in_authority(line).or_else(|| password_in_query(line)) {
        Some((start, end)) => {
            let mut out = line.get(..start).unwrap_or("").to_owned();
            push_stars(&mut out, line.get(start..end).unwrap_or(""));
            out.push_str(line.get(end..).unwrap_or(""));
            out
        }
        None => line.to_owned(),
    }
}

fn password_in_authority(line: &str) -> Option<(usize, usize)> {
    let start = line.find("://")? + 3;
    let rest = line.get(start..)?;
    let authority = rest.get(..rest.find(['/', '"', '\'', '?', ' ']).unwrap_or(rest.len()))?;
    let at = authority.rfind('@')?;
    let colon = authority.get(..at)?.find(':')?;
    Some((start + colon + 1, start + at))
}

fn password_in_query(line: &str) -> Option<(usize, usize)> {
    const KEY: &str = "password=";
    let start = line.to_ascii_lowercase().find(KEY)? + KEY.len();
    Some((start, line.len()))
}

fn push_stars(out: &mut String, text: &str) {
    // Quotes and line ends stay, so that the line still reads as one.
    for c in text.chars() {
        match c {
            '"' | '\'' | '\n' | '\r' | ' ' | '{' | '}' => out.push(c),
            _ => out.extend(std::iter::repeat_n('*', c.len_utf8())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_may_be_a_secret_is_masked_in_place() {
        let text = "title = \"店\"\nchannel_secret = \"ab秘cd\" # x\nAccess_Token ＝ 'zz'\n\
                    url = \"postgres://haishin:pa:ss@db/x\"\nsecret = { file = \"a\" }\n\
                    token = \"\"\"\nhidden\n\"\"\" # end\ntitle = \"b\"\n";
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        insta::assert_snapshot!(masked, @r#"
        title = "店"
        channel_secret = "*******" * *
        Access_Token ＝ '**'
        url = "postgres://haishin:*****@db/x"
        secret = { file = "a" }
        token = """
        ******
        """ # end
        title = "b"
        "#);
    }

    #[test]
    fn secrets_come_from_files_variables_and_credentials() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("koharu"), "s3cret\n").unwrap();
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        let folder = dir.path().to_str().unwrap().to_owned();
        let environment = move |name: &str| match name {
            "CREDENTIALS_DIRECTORY" => Some(folder.clone()),
            "SECRET" => Some("from env".to_owned()),
            _ => None,
        };
        let read = |source: SecretSource| source.read(dir.path(), &environment);
        let secret = read(SecretSource::File("koharu".into())).unwrap();
        assert_eq!(secret.expose_secret(), "s3cret");
        assert!(!format!("{secret:?}").contains("s3cret"));
        assert_eq!(read(SecretSource::Credential("koharu".into())).unwrap().expose_secret(), "s3cret");
        assert_eq!(read(SecretSource::Env("SECRET".into())).unwrap().expose_secret(), "from env");
        assert!(matches!(read(SecretSource::File("empty".into())), Err(SecretError::Empty { .. })));
        assert!(matches!(read(SecretSource::File("none".into())), Err(SecretError::Read { .. })));
        assert!(matches!(read(SecretSource::Env("NONE".into())), Err(SecretError::NoVariable { .. })));
    }

    #[test]
    fn a_list_of_places_is_shown_and_one_with_a_secret_in_it_is_not() {
        for shown in [
            "former_secrets = [{ file = \"a\" }, { env = \"B\" }] # two",
            "former_secrets = [ { credential = \"c\" } ]",
            "channel_secret = { file = \"a\" }",
        ] {
            assert_eq!(mask(shown), shown);
        }
        for hidden in [
            "former_secrets = [{ file = \"a\" }, \"hunter2\"]",
            "former_secrets = [\"hunter2\", { file = \"a\" }]",
            "former_secrets = [{ file = \"a\", value = \"hunter2\" }]",
            "channel_secret = { file = \"a\" } hunter2",
            "former_secrets = [",
        ] {
            assert!(!mask(hidden).contains("hunter2") && mask(hidden) != hidden, "{}", mask(hidden));
        }
    }
}
