//! The two languages people read haishin in.

/// Which language texts for people are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// Japanese.
    Ja,
    /// English.
    En,
}

impl Lang {
    /// The language for a POSIX locale such as `ja_JP.UTF-8`: Japanese when it begins with `ja`, else English.
    pub fn of_locale(locale: &str) -> Self {
        if locale.starts_with("ja") { Lang::Ja } else { Lang::En }
    }

    /// The one of two texts that is in this language.
    pub fn pick<T>(self, ja: T, en: T) -> T {
        match self {
            Lang::Ja => ja,
            Lang::En => en,
        }
    }
}

impl std::str::FromStr for Lang {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ja" => Ok(Lang::Ja),
            "en" => Ok(Lang::En),
            _ => Err("write `ja` or `en`".into()),
        }
    }
}
