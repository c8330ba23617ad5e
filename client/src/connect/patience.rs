//! Telling the user what is waited for, where it is not there at once.

use std::future::Future;
use std::time::Duration;

use crate::output::Shell;

/// How long nothing is said: what a user takes for at once, and most waits take less.
const PATIENCE: Duration = Duration::from_millis(300);

/// Waits for `future`, and says `what_for` when it takes a while.
pub(super) async fn wait<F: Future>(future: F, shell: &mut Shell, what_for: &str) -> F::Output {
    let mut future = std::pin::pin!(future);
    tokio::select! {
        biased;
        done = &mut future => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    shell.waiting("Blocking", &format!("waiting for {what_for}"));
    future.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Look;
    use crate::output::test_support::Screen;

    #[tokio::test(start_paused = true)]
    async fn only_a_long_wait_is_told() {
        let screen = Screen::default();
        let mut shell = screen.shell(Look::default());
        wait(std::future::ready(()), &mut shell, "nothing").await;
        assert_eq!(screen.take(), "");
        let long = tokio::time::sleep(2 * PATIENCE);
        wait(long, &mut shell, "a friend").await;
        assert_eq!(screen.take(), "    Blocking waiting for a friend\n");
    }
}
