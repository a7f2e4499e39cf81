//! LINE is away: a batch is tried again, ever more seldom.

use haishin::domain::time::Span;
use haishin::sandbox::{Fault, FaultKind};

use super::gift;

/// The machine looks so often at the least, and chance takes up to half of a wait.
fn is_about(gap: Span, full: i64, look: i64) -> bool {
    (full / 2..=full + 2 * look).contains(&gap.as_millis())
}

/// A fifth of a second, then twice as long each time up to five, and after ten minutes once a minute.
#[tokio::test]
async fn a_batch_is_tried_again_ever_more_seldom() {
    const LOOK: i64 = 50;
    const SELDOM: i64 = 2_000;
    let mut world = gift("", 20).await;
    world.sandbox.set_faults(vec![Fault::always(FaultKind::LostBefore)]);
    world.until_requests(1).await;
    world.pass(Span::from_secs(13)).await;
    let gaps = |requests: &[haishin::sandbox::RequestRecord]| -> Vec<Span> {
        requests.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
    };
    let early = world.multicasts();
    let waits = [200, 400, 800, 1_600, 3_200].into_iter().chain(std::iter::repeat(5_000));
    for (gap, full) in gaps(&early).into_iter().zip(waits) {
        assert!(is_about(gap, full, LOOK), "{gap:?} for {full} ms: {:?}", gaps(&early));
    }
    assert!(early.len() >= 7, "{:?}", gaps(&early));
    world.step = Span::from_millis(SELDOM);
    world.pass(Span::from_mins(14)).await;
    let all = world.multicasts();
    let began = all[0].at;
    let late: Vec<_> = all.into_iter().filter(|one| one.at - began > Span::from_secs(610)).collect();
    let gaps = gaps(&late);
    assert!((3..=10).contains(&gaps.len()), "{gaps:?}");
    assert!(gaps.iter().all(|gap| is_about(*gap, 60_000, SELDOM)), "{gaps:?}");
    world.sandbox.set_faults(vec![]);
    world.until_state(1, "finished").await;
    assert_eq!(world.received(), [(1, 20)].into());
}
