//! Every way to write an expression wrong, with the whole message.

use haishin::domain::schedule::{Cron, CronError, CronField, CronProblem};

#[test]
fn each_mistake_names_its_field_and_what_was_expected() {
    let wrong = [
        "",
        "0 10 * *",
        "0 0 10 * * *",
        "@daily",
        "60 * * * *",
        "0 24 * * *",
        "0 10 0 * *",
        "0 10 32 * *",
        "0 10 * 13 *",
        "0 10 * * 8",
        "1,,2 * * * *",
        "5- * * * *",
        "-5 * * * *",
        "0 10 L * *",
        "0 10 15W * *",
        "0 10 * * fri#2",
        "0 10 ? * *",
        "0 10 * MON *",
        "0 10 * * jan",
        "30-10 * * * *",
        "0 10 * * fri-sun",
        "*/0 * * * *",
        "*/60 * * * *",
        "*/ * * * *",
        "5/10 * * * *",
        "1-5/+2 * * * *",
        "+5 * * * *",
        "１０ * * * *",
        "** * * * *",
        "0 10 * * monday",
        "99999999999 * * * *",
        "0 10 * * *,L",
        ", * * * *",
    ];
    let told: String =
        wrong.iter().map(|text| format!("{text:?}\n  {}\n", Cron::parse(text).expect_err(text))).collect();
    insta::assert_snapshot!(told);
}

#[test]
fn the_error_is_structured_for_a_caret() {
    assert_eq!(
        Cron::parse("0 10 * MON *"),
        Err(CronError::Field {
            field: CronField::Month,
            part: "MON".into(),
            problem: CronProblem::NameOf(CronField::Weekday)
        })
    );
}

#[test]
fn names_come_in_any_case_and_sunday_is_0_and_7() {
    let same = [
        ("0 10 * jan,DEC Mon-Fri", "0 10 * 1,12 1-5"),
        ("0 10 * * sun", "0 10 * * 7"),
        ("0 10 * * 5-7", "0 10 * * 0,5,6"),
        ("  0\t10 *  * * ", "0 10 * * *"),
    ];
    for (one, other) in same {
        let [one, other] = [one, other].map(|text| super::cron(text, "UTC"));
        let first = |cron: &haishin::domain::schedule::Recurrence| {
            let first = super::at("2026-01-01T00:00:00Z");
            std::iter::successors(cron.next_after(first), |at| cron.next_after(*at))
                .take(100)
                .collect::<Vec<_>>()
        };
        assert_eq!(first(&one), first(&other));
    }
}
