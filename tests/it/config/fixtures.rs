//! Files with problems, by topic.

use haishin::config::Source;

use super::{campaign, scheduled, shop, with_messages};

pub fn full_width() -> Source {
    shop(&[
        (
            "campaigns/winter.toml",
            "title ＝ \"冬\"\n\
             segment = “members”\n\
             category = 「promotion」 # 全角のカッコ「」はコメントなら構いません\n\
             priority = ５０\n\
             holdout　= \"5%\"\n\
             once = ’30d’\n\
             notify = true、\n\
             \n\
             ［schedule］\n\
             at = \"2026-12-04 18:00”\n",
        ),
        ("campaigns/spring.toml", &scheduled("at = \"２０２７-03-01 18：00\"\ngrace = \"３０min\"")),
    ])
}

pub fn syntax() -> Source {
    shop(&[
        (
            "campaigns/winter.toml",
            "title = 冬のクーポン\n\
             タイトル = \"冬\"\n\
             segment \"members\"\n\
             category = \"promotion\n\
             priority = 50\n\
             priority = 60\n\
             holdout =\n\
             onec = \"30d\"\n\
             \n\
             [schedule\n\
             at = \"2026-12-04 18:00\"\n\
             deadline = \"5m\"\n",
        ),
        ("segments/broken.toml", "title = \"x\"\nall = [{ tag = \"a\" }, { tag = \"b\" }\n"),
        ("segments/other.toml", "title = \"他のファイルの問題も隠れない\"\ntags = \"vip\"\n"),
    ])
}

pub fn files() -> Source {
    let mut source = shop(&[
        ("segment/vip.toml", "title = \"x\"\n"),
        ("atributes.toml", ""),
        ("notes/todo.toml", ""),
        ("drips/trial.toml", &super::drip("", "")),
        ("drips/2026/trial.toml", &super::drip("", "")),
        ("drips/winter.toml", &super::drip("", "")),
        ("campaigns/冬 の.toml", &campaign("")),
        ("campaigns/2026/winter.toml", &campaign("")),
        ("campaigns/winter.toml", &campaign("")),
    ]);
    source.not_utf8.insert("campaigns/sjis.toml".to_owned(), 9);
    source
}

pub fn keys() -> Source {
    shop(&[
        (
            "campaigns/a.toml",
            "titel = \"t\"\n\
             segment = \"members\"\n\
             audience = { tag = \"member\" }\n\
             at = \"2026-12-04 18:00\"\n\
             recipients = 3000\n\
             \n\
             [schedule]\n\
             every = \"day\"\n\
             cron = \"0 18 * * *\"\n\
             at = \"18:00\"\n\
             category = \"promotion\"\n\
             \n\
             [[message]]\n\
             type = \"text\"\n\
             txt = \"こんにちは\"\n\
             holdout = \"5%\"\n\
             \n\
             [[message]]\n\
             type = \"coupon\"\n\
             couponId = \"01J\"\n",
        ),
        ("campaigns/b.toml", "title = \"t\"\n[schedule]\n"),
        ("segments/empty.toml", "title = \"t\"\n"),
        ("segments/two.toml", "title = \"t\"\nany = [{ tag = \"member\", attr = \"points\" }, {}]\n"),
    ])
}

pub fn values() -> Source {
    shop(&[
        (
            "campaigns/a.toml",
            &campaign(
                "priority = 101\n\
                 max_recipients = \"3000\"\n\
                 holdout = 5\n\
                 once = \"5m\"\n\
                 repeat_after = \"30 minutes\"\n\
                 reach = \"everybody\"\n\
                 pace = \"2000/min\"\n\
                 notify = \"no\"\n\
                 draft = 1\n",
            ),
        ),
        (
            "campaigns/b.toml",
            &campaign("once = \"3か月\"\nholdout = \"５％\"\npace = \"2000/10m\"\nimmediate = true\n"),
        ),
        (
            "campaigns/c.toml",
            &scheduled(
                "at = \"12/4 18:00\"\ndeadline = \"soon\"\nif_missed = \"lastest\"\ngrace = 2\nrerun = -1",
            ),
        ),
        ("campaigns/d.toml", &scheduled("at = 2026-12-04")),
        ("campaigns/h.toml", &scheduled("at = \"2026/12/04 18:00\"")),
        ("campaigns/e.toml", &scheduled("every = \"weekly\"\nat = \"25:00\"")),
        ("campaigns/f.toml", &scheduled("every = \"week\"\non = [\"月曜\", \"frday\"]\nat = [\"9時\"]")),
        (
            "campaigns/g.toml",
            &scheduled(
                "every = \"month\"\non = [32, \"first\"]\nat = \"10:00\"\nexcept = [\"正月\", \"jp-holiday\", \"2027/01/01\", \"2027-01-03..2027-01-01\"]",
            ),
        ),
    ])
}

pub fn names() -> Source {
    shop(&[
        ("attributes.toml", &format!("{}\nrank = \"string\"\n\"\" = \"text\"\n", super::ATTRIBUTES)),
        ("segments/a.toml", "title = \"a\"\nany = [{ segment = \"b\" }, { tag = \"member\" }]\n"),
        ("segments/b.toml", "title = \"b\"\nnot = { segment = \"c\" }\n"),
        ("segments/c.toml", "title = \"c\"\nall = [{ segment = \"a\" }, { tag = \"menber\" }]\n"),
        ("segments/self.toml", "title = \"self\"\nsegment = \"self\"\n"),
        (
            "campaigns/winter-coupon.toml",
            &campaign("category = \"promotoin\"\naccount = \"kohaku\"")
                .replace("\"members\"", "\"member\"")
                .replace("at =", "zone = \"Asia/Tokio\", at ="),
        ),
        (
            "campaigns/other.toml",
            "title = \"t\"\n\
             schedule = { at = \"2026-12-04 18:00\", zone = \"Asia/Tokio\" }\n\
             message = [{ type = \"text\", text = \"x\" }]\n\
             category = \"ads\"\n\
             audience = { all = [\n\
             \x20 { attr = \"prefectur\", eq = \"東京都\" },\n\
             \x20 { attr = \"rank\", eq = \"gold\" },\n\
             \x20 { not = { received = \"winter-cupon\" } },\n\
             \x20 { not = { received = \"summer-fair\" } },\n\
             ] }\n",
        ),
    ])
}

pub fn rules() -> Source {
    let conditions = [
        "{ attr = \"prefecture\", eq = 13 }",
        "{ attr = \"prefecture\", age = { gte = 20 } }",
        "{ attr = \"points\", gte = \"1000\" }",
        "{ attr = \"points\", contains = \"1\" }",
        "{ attr = \"spend\", gt = nan }",
        "{ attr = \"newsletter\", in = [true] }",
        "{ attr = \"birthday\", month = 13 }",
        "{ attr = \"birthday\", month = \"next\" }",
        "{ attr = \"birthday\", age = { gte = 20, ls = 40 } }",
        "{ attr = \"birthday\", within = \"12h\" }",
        "{ attr = \"birthday\", gte = \"1990/01/01\" }",
        "{ attr = \"birthday\", on_day = \"tomorow\" }",
        "{ attr = \"birthday\", age = 20, month = \"this\" }",
        "{ attr = \"last_login\", ne = 2026-12-01 }",
        "{ attr = \"prefecture\", in = [] }",
        "{ attr = \"prefecture\" }",
        "{ tag = \"member\", for_at_least = \"1d\", within = \"7d\" }",
        "{ tag = \"\" }",
        "{ event = \"purchase\", count = -1 }",
        "{ event = \"purchase\", count = { gte = \"2\" } }",
        "{ event = \"purchase\", sum = { gte = 10000 } }",
        "{ event = \"purchase\", sum = { of = \"amount\" } }",
        "{ event = \"purchase\", last = {} }",
        "{ event = \"purchase\", never = true, count = 2 }",
        "{ event = \"purchase\", where = { shop = [\"渋谷\"], amount = {} } }",
        "{ at_least = 3, of = [{ tag = \"member\" }, { tag = \"vip\" }] }",
        "{ at_least = 0, of = [] }",
        "{ all = [] }",
        "{ any = [] }",
        "{ status = \"folowing\" }",
        "{ followed = \"7d\" }",
        "\"member\"",
    ];
    let text = format!("title = \"t\"\nall = [\n  {},\n]\n", conditions.join(",\n  "));
    shop(&[("segments/rules.toml", &text)])
}

/// 64 levels are fine, 65 are not, also where the last one is another segment's.
pub fn depth() -> Source {
    let not = |levels: usize, leaf: &str| {
        (1..levels).fold(leaf.to_owned(), |rule, _| format!("{{ not = {rule} }}"))
    };
    let nested = |levels: usize, leaf: &str| format!("title = \"t\"\nnot = {}\n", not(levels - 1, leaf));
    let in_drip = |stop: usize, step: usize| {
        let tag = "{ tag = \"member\" }";
        super::drip(&format!("stop = {}", not(stop, tag)), &format!("audience = {}", not(step, tag)))
    };
    shop(&[
        ("segments/a-fine.toml", &nested(64, "{ tag = \"member\" }")),
        ("segments/b-deep.toml", &nested(65, "{ tag = \"member\" }")),
        ("segments/c-fine.toml", &nested(63, "{ segment = \"members\" }")),
        ("segments/d-deep.toml", &nested(64, "{ segment = \"members\" }")),
        ("drips/e-fine.toml", &in_drip(64, 64)),
        ("drips/f-deep.toml", &in_drip(65, 64)),
        ("drips/g-deep.toml", &in_drip(64, 65)),
    ])
}

pub fn once() -> Source {
    let berlin = |at: &str| scheduled(&format!("zone = \"Europe/Berlin\"\nat = \"{at}\""));
    shop(&[
        ("campaigns/a-past.toml", &scheduled("at = \"2026-12-01 18:00\"")),
        ("campaigns/b-offset.toml", &scheduled("at = 2026-12-04T09:00:00Z")),
        ("campaigns/c-end.toml", &scheduled("at = \"2026-12-04 18:00\"\ndeadline = \"2026-12-04 17:00\"")),
        ("campaigns/d-quiet.toml", &scheduled("at = \"2026-12-04 22:00\"")),
        ("campaigns/e-never.toml", &scheduled("at = \"2026-12-04 23:00\"\ndeadline = \"2h\"")),
        ("campaigns/f-gap.toml", &berlin("2027-03-28 02:30")),
        ("campaigns/g-twice.toml", &berlin("2027-10-31 02:30")),
        ("campaigns/h-nothing.toml", &scheduled("deadline = \"2026-12-04 17:00\"")),
    ])
}

pub fn recurring() -> Source {
    shop(&[
        ("campaigns/a-never.toml", &scheduled("cron = \"0 10 30 2 *\"")),
        ("campaigns/b-soon.toml", &scheduled("every = \"day\"\nat = [\"10:00\", \"16:00\"]")),
        (
            "campaigns/c-soon.toml",
            &scheduled("cron = \"*/10 9-17 * * *\"").replace("segment", "repeat_after = \"30min\"\nsegment"),
        ),
        ("campaigns/d-over.toml", &scheduled("every = \"day\"\nat = \"10:00\"\nuntil = 2026-11-30")),
        (
            "campaigns/e-bounds.toml",
            &scheduled("every = \"day\"\nat = \"10:00\"\nfrom = \"2026-12-10\"\nuntil = \"2026-12-09\""),
        ),
        ("campaigns/f-cron.toml", &scheduled("cron = \"0 10 * MON *\"")),
        ("campaigns/g-both.toml", &scheduled("every = \"day\"\nat = \"10:00\"\ncron = \"0 10 * * *\"")),
        ("campaigns/h-at.toml", &scheduled("every = \"day\"\nat = \"2026-12-04 18:00\"")),
        ("campaigns/k-quiet.toml", &scheduled("every = \"day\"\nat = \"22:30\"")),
        ("campaigns/l-quiet.toml", &scheduled("cron = \"0 7 * * *\"\ndeadline = \"30min\"")),
        ("campaigns/m-fine.toml", &scheduled("cron = \"0 7,19 * * *\"\ndeadline = \"30min\"")),
        ("campaigns/i-empty.toml", &scheduled("every = \"day\"\nat = []")),
        (
            "campaigns/j-deadline.toml",
            &scheduled("every = \"day\"\nat = \"10:00\"\ndeadline = \"12:00\"\nrerun = 1"),
        ),
    ])
}

pub fn arms() -> Source {
    let arms = |shares: [&str; 3]| {
        let arm = |(n, share): (usize, &str)| {
            format!(
                "[[variant]]\nname = \"v{n}\"\n{share}\nmessage = [{{ type = \"text\", text = \"{n}\" }}]\n"
            )
        };
        let arms: String = shares.into_iter().enumerate().map(arm).collect();
        format!("title = \"t\"\nsegment = \"members\"\nschedule = {{ at = \"2026-12-04 18:00\" }}\n{arms}")
    };
    shop(&[
        ("campaigns/a-sum.toml", &arms(["share = \"33.3%\"", "share = \"33.3%\"", "share = \"33.3%\""])),
        ("campaigns/b-partly.toml", &arms(["share = \"50%\"", "", "share = \"50%\""])),
        ("campaigns/c-name.toml", &arms(["", "", ""]).replace("v2", "v0")),
        (
            "campaigns/d-both.toml",
            &format!("{}\n[[message]]\ntype = \"text\"\ntext = \"x\"\n", arms(["", "", ""])),
        ),
        ("campaigns/e-none.toml", &with_messages("variant = []\n")),
        (
            "campaigns/f-letter.toml",
            &arms(["", "", ""]).replace("name = \"v0\"", "name = \"b\"").replace("name = \"v1\"\n", ""),
        ),
    ])
}

pub fn accounts() -> Source {
    shop(&[(
        "haishin.toml",
        "zone = \"Japan/Tokyo\"\n\
         api_base = \"http://api.line.me\"\n\
         quiet_hours = \"22時-8時\"\n\
         plan = \"premium\"\n\
         \n\
         [blanket_guard]\n\
         share = \"half\"\n\
         \n\
         [categories.event]\n\
         caped = true\n\
         \n\
         [categories.\"a b\"]\n\
         \n\
         [caps.monthly]\n\
         max = \"none\"\n\
         per = \"year\"\n\
         categories = [\"event\", \"promo\"]\n\
         \n\
         [caps.daily]\n\
         title = \"販促 週2通\"\n\
         \n\
         [caps.weekly]\n\
         categories = \"promotion\"\n\
         zone = \"Asia/Tokio\"\n\
         \n\
         [plans.own]\n\
         monthly_fee_yen = -1\n\
         additional = [{ yen = 2.12345 }]\n\
         \n\
         [database]\n\
         url = \"postgres://haishin:hunter2@db/haishin\"\n\
         \n\
         [accounts.koharu]\n\
         channel_id = \"@koharu\"\n\
         channel_secret = \"8c570fa6dd201bb328f1c1eac23a96d8\" # すぐに変えます\n\
         access_token = { value = \"hunter2\" }\n\
         rate = \"off\"\n\
         \n\
         [accounts.\"b c\"]\n",
    )])
}

pub fn webhooks() -> Source {
    let main = "[webhooks.a]\n\
                url = \"http://crm.example/hook\"\n\
                secret = \"hunter2\"\n\
                \n\
                [webhooks.b]\n\
                url = \"https://haishin:hunter2@crm.example/hook\"\n\
                secret = { file = \"a\", env = \"b\" }\n\
                \n\
                [webhooks.c]\n\
                url = \"crm.example\"\n\
                token = \"hunter2\"\n\
                \n\
                [webhooks.\"d e\"]\n\
                url = \"https://crm.example\"\n\
                \n\
                [webhooks.e]\n\
                url = \"https://admin@crm.example\"\n\
                secret = { env = \"\" }\n";
    shop(&[("haishin.toml", &format!("webhook = {{}}\n{main}{}", super::MAIN))])
}

pub fn relays() -> Source {
    let account = |n: u8, rest: &str| {
        format!(
            "[accounts.shop{n}]\nchannel_id = 200000000{n}\nchannel_secret = {{ env = \"S\" }}\n{rest}\n\n"
        )
    };
    let relay = |n: u8, rest: &str| account(n, &format!("[accounts.shop{n}.relay]\n{rest}"));
    let main = [
        account(1, "former_secrets = { env = \"OLD\" }"),
        account(2, "former_secrets = [\"8c570fa6dd201bb328f1c1eac23a96d8\"]"),
        account(3, "former_secrets = [{ env = \"OLD\" }, { file = \"a\", env = \"b\" }]"),
        account(4, "relay = \"https://bot.example\""),
        relay(5, "url = \"http://bot.example/line\"\nreplies = \"bot\""),
        relay(6, "url = \"bot.example\"\nreplys = \"relay\""),
        relay(7, "url = \"https://haishin:hunter2@bot.example/\"\nreplies = \"haishin\""),
        relay(8, "url = \"https://ボット.example/\"\nreplies = \"relay\""),
    ];
    shop(&[("haishin.toml", &main.concat())])
}

pub fn several_accounts() -> Source {
    let account = |slug: &str, zone: &str| {
        format!(
            "[accounts.{slug}]\nchannel_id = 2000000001\nchannel_secret = {{ env = \"S\" }}\nzone = \"{zone}\"\n"
        )
    };
    shop(&[
        ("haishin.toml", &format!("{}{}", account("koharu", "Asia/Tokyo"), account("natsu", "Asia/Taipei"))),
        ("campaigns/a.toml", &campaign("")),
        ("segments/young.toml", "title = \"t\"\nattr = \"birthday\"\nage = { lt = 30 }\n"),
    ])
}

pub fn later() -> Source {
    shop(&[
        ("campaigns/a.toml", &campaign("delivery = \"push\"")),
        (
            "campaigns/b.toml",
            &with_messages(
                "message = [{ type = \"text\", text = \"{{ friend.name }}さん\" }, { type = \"text\", text = \"{{ code() }}\" }]\n",
            ),
        ),
    ])
}

pub fn messages() -> Source {
    let long = "あ".repeat(4_999) + "🎂";
    let six = "[[message]]\ntype = \"text\"\ntext = \"x\"\n".repeat(6);
    shop(&[
        (
            "campaigns/a-long.toml",
            &with_messages(&format!("[[message]]\ntype = \"text\"\ntext = \"{long}\"\n")),
        ),
        ("campaigns/b-six.toml", &with_messages(&six)),
        ("campaigns/c-none.toml", &with_messages("message = []\n")),
        (
            "campaigns/d-kinds.toml",
            &with_messages(
                "[[message]]\ntype = \"txt\"\ntext = \"x\"\n\
                 [[message]]\ntype = \"image\"\noriginal_content_url = \"http://a.example/x.jpg\"\n\
                 [[message]]\ntype = \"location\"\ntitle = \"店\"\naddress = \"渋谷\"\nlatitude = 135.0\nlongitude = \"139\"\n\
                 [[message]]\ntype = \"text\"\ntext = \"{{ link('www.example') }} {{ name }} {{\"\n\
                 [[message]]\ntype = \"coupon\"\ncoupon_id = \"\"\ndelivery_tag = \"冬\"\n",
            ),
        ),
        (
            "campaigns/e-template.toml",
            &with_messages(
                "[[message]]\ntype = \"template\"\nalt_text = \"予約\"\n\
                 [message.template]\ntype = \"confirm\"\ntext = \"予約しますか?\"\n\
                 actions = [{ type = \"uri\", label = \"このラベルは二十文字より長いので表示しきれません\", uri = \"www.example\" }]\n",
            ),
        ),
        ("campaigns/f-single.toml", &with_messages("[message]\ntype = \"text\"\ntext = \"x\"\n")),
        ("campaigns/g-untyped.toml", &with_messages("[[message]]\ntext = \"x\"\n")),
        (
            "campaigns/h-url.toml",
            &with_messages(
                "[[message]]\ntype = \"image\"\noriginal_content_url = \"https://shop.example/冬.jpg\"\n\
                 preview_image_url = \"https://お店.example/冬.jpg\"\n",
            ),
        ),
    ])
}

pub fn message_rules() -> Source {
    let long_text = "あ".repeat(61);
    shop(&[
        (
            "campaigns/a.toml",
            &with_messages(
                "[[message]]\ntype = \"text\"\ntext = \"$ こんにちは\"\nquote_token = \"x\"\n\
                 emojis = [{ index = 1, product_id = \"p\", emoji_id = \"e\" }]\nsender = { name = \"LINE 公式\" }\n\
                 [message.quick_reply]\nitems = [{ action = { type = \"message\", label = \"はい\", text = \"はい\" } }]\n\
                 [[message]]\ntype = \"textV2\"\ntext = \"{hi} {you}\"\n\
                 [message.substitution]\nhi = { type = \"emoji\", product_id = \"p\", emoji_id = \"e\" }\n\
                 me = { type = \"mention\", mentionee = { type = \"all\" } }\n\
                 [[message]]\ntype = \"textV2\"\ntext = \"片方だけ {\"\n",
            ),
        ),
        (
            "campaigns/b.toml",
            &with_messages(&format!(
                "[[message]]\ntype = \"template\"\nalt_text = \"商品\"\n\
                 [message.template]\ntype = \"carousel\"\n\
                 [[message.template.columns]]\ntitle = \"a\"\ntext = \"{long_text}\"\n\
                 actions = [{{ type = \"message\", label = \"x\", text = \"x\" }}]\n\
                 [[message.template.columns]]\ntext = \"b\"\n\
                 actions = [{{ type = \"message\", label = \"x\", text = \"x\" }}, {{ type = \"camera\", label = \"x\" }}]\n\
                 [[message]]\ntype = \"imagemap\"\nalt_text = \"地図\"\nbase_url = \"https://a.example/map\"\n\
                 base_size = {{ width = 1040, height = 500 }}\n\
                 actions = [{{ type = \"uri\", link_uri = \"https://a.example\", area = {{ x = 0, y = 400, width = 1040, height = 200 }} }}]\n",
            )),
        ),
    ])
}

pub fn flex() -> Source {
    let bubble = |size: &str| format!("{{ type = \"bubble\", size = \"{size}\" }}");
    let flex = |contents: &str| format!("[[message]]\ntype = \"flex\"\nalt_text = \"冬\"\n{contents}\n");
    let large = format!("contents_json = '{{\"type\":\"bubble\",\"x\":\"{}\"}}'", "a".repeat(31_000));
    shop(&[
        (
            "campaigns/a-json.toml",
            &with_messages(&flex("contents_json = '''\n{ \"type\": \"bubble\",\n  \"body\": }\n'''")),
        ),
        ("campaigns/b-kind.toml", &with_messages(&flex("contents = { type = \"box\" }"))),
        (
            "campaigns/c-widths.toml",
            &with_messages(&flex(&format!(
                "contents = {{ type = \"carousel\", contents = [{}, {}] }}",
                bubble("kilo"),
                bubble("mega")
            ))),
        ),
        (
            "campaigns/d-action.toml",
            &with_messages(&flex(
                "contents = { type = \"bubble\", hero = { type = \"image\", action = { type = \"uri\", uri = \"example\" } } }",
            )),
        ),
        ("campaigns/e-nothing.toml", &with_messages(&flex(""))),
        ("campaigns/f-large.toml", &with_messages(&flex(&large))),
    ])
}

pub fn retention() -> Source {
    let settings = "\n[retention]\n\
         webhook_ids = \"6h\"\n\
         batches = \"3か月\"\n\
         events = 760\n\
         sets = \"never\"\n\
         journal = \"90d\"\n\
         \n\
         [accounts.koharu.retention]\n\
         batches = \"31d\"\n";
    shop(&[("haishin.toml", &format!("{}{settings}", super::MAIN))])
}
