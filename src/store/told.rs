//! The store's errors in Japanese; their `Display` is the English.

use super::StoreError;
use crate::lang::Lang;
use crate::text::Told;

impl Told for StoreError {
    fn told(&self, lang: Lang) -> String {
        if lang == Lang::En {
            return self.to_string();
        }
        match self {
            Self::Fenced { account } => format!(
                "アカウント {account} の担当が移っています（別の haishin が引き継いだか、前の書き込みが届いていました）"
            ),
            Self::Lost { operation, .. } => {
                format!("データベースへの書き込み（{operation}）の返事が失われました。状態を読み直します")
            }
            Self::Failed { operation, .. } => format!("データベースの処理（{operation}）に失敗しました"),
            Self::Corrupt { what, why } => format!("データベースの {what} を読めません: {why}"),
            Self::ChannelChanged { slug, before, now } => format!(
                "アカウント「{slug}」はチャネル {before} のものですが、設定は {now} です。channel_id を戻すか、新しいチャネルには別の名前を付けてください"
            ),
            Self::SlugChanged { slug, known, channel } => format!(
                "チャネル {channel} は履歴ごとアカウント「{known}」のものです。「{slug}」ではなく、もとの「{known}」にしてください"
            ),
            Self::TooNew { found, known } => format!(
                "このデータベースはより新しい haishin のものです（形式 {found}、この haishin が知るのは {known} まで）。新しい haishin で起動するか、更新前のバックアップを復元してください"
            ),
        }
    }
}
