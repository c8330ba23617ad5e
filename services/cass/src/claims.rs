//! Claims: who does what, so that others wait in place of doing it too. In memory only: a
//! store that is started anew has no claims, and at worst something is done twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use vx_core::{Digest, GrantId, ServiceError, ServiceResult};

use crate::limits::{CLAIM_LEASE, MAX_CLAIM_WAITERS, MAX_CLAIMS};
use crate::shared::lock;
use crate::state::Grant;

#[derive(Debug)]
struct Claim {
    grant: GrantId,
    expires: Instant,
    /// Told when it ends.
    ended: Arc<Notify>,
}

/// All claims.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    held: Mutex<HashMap<Digest, Claim>>,
    waiters: AtomicUsize,
}

/// Counts one who waits.
struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Claims {
    /// Claims `name`, or waits for at most `wait` while someone else has it. One who has it
    /// already has it anew.
    pub(crate) async fn claim(
        &self,
        name: Digest,
        grant: &Grant,
        wait: Duration,
    ) -> ServiceResult<bool> {
        let deadline = Instant::now() + wait.min(CLAIM_LEASE);
        let (ended, expires) = {
            let mut held = lock(&self.held);
            let now = Instant::now();
            match held.get_mut(&name) {
                Some(claim) if claim.grant != grant.id && claim.expires > now => {
                    (Arc::clone(&claim.ended).notified_owned(), claim.expires)
                }
                Some(claim) if claim.grant == grant.id => {
                    claim.expires = now + CLAIM_LEASE;
                    return Ok(true);
                }
                _ => {
                    if held.len() >= MAX_CLAIMS {
                        held.retain(|_, claim| claim.expires > now);
                    }
                    if held.len() >= MAX_CLAIMS {
                        return Err(ServiceError::Overloaded(format!(
                            "{MAX_CLAIMS} claims are held already"
                        )));
                    }
                    let claim = Claim {
                        grant: grant.id,
                        expires: now + CLAIM_LEASE,
                        ended: Arc::default(),
                    };
                    if let Some(expired) = held.insert(name, claim) {
                        expired.ended.notify_waiters();
                    }
                    return Ok(true);
                }
            }
        };
        if self.waiters.fetch_add(1, Ordering::Relaxed) >= MAX_CLAIM_WAITERS {
            self.waiters.fetch_sub(1, Ordering::Relaxed);
            return Err(ServiceError::Overloaded(format!(
                "{MAX_CLAIM_WAITERS} callers wait for claims already"
            )));
        }
        let _waiter = Waiter(&self.waiters);
        // Whoever waits asks again afterwards, whether the claim ended or time ran out.
        drop(tokio::time::timeout_at(deadline.min(expires), ended).await);
        Ok(false)
    }

    /// Gives a claim of this grant back.
    pub(crate) fn release(&self, name: &Digest, grant: &Grant) {
        let mut held = lock(&self.held);
        if held.get(name).is_some_and(|claim| claim.grant == grant.id)
            && let Some(claim) = held.remove(name)
        {
            claim.ended.notify_waiters();
        }
    }

    /// Gives back all claims of a grant that is over.
    pub(crate) fn release_all(&self, grant: GrantId) {
        lock(&self.held).retain(|_, claim| {
            if claim.grant == grant {
                claim.ended.notify_waiters();
            }
            claim.grant != grant
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(number: u64) -> Grant {
        Grant::new(GrantId(number), String::new(), false)
    }

    #[tokio::test(start_paused = true)]
    async fn one_has_it_until_released_lost_or_expired() {
        let claims = Claims::default();
        let (one, two) = (grant(1), grant(2));
        let name = Digest::of(b"work");
        assert!(claims.claim(name, &one, Duration::ZERO).await.unwrap());
        assert!(claims.claim(name, &one, Duration::ZERO).await.unwrap());
        assert!(
            !claims
                .claim(name, &two, Duration::from_secs(5))
                .await
                .unwrap()
        );

        claims.release(&name, &two);
        assert!(!claims.claim(name, &two, Duration::ZERO).await.unwrap());
        claims.release(&name, &one);
        assert!(claims.claim(name, &two, Duration::ZERO).await.unwrap());
        claims.release_all(two.id);
        assert!(claims.claim(name, &one, Duration::ZERO).await.unwrap());

        // Waiting for longer than a lease ends with the lease.
        assert!(!claims.claim(name, &two, CLAIM_LEASE * 2).await.unwrap());
        assert!(claims.claim(name, &two, Duration::ZERO).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_of_the_end() {
        let claims = Arc::new(Claims::default());
        let one = grant(1);
        let name = Digest::of(b"work");
        assert!(claims.claim(name, &one, Duration::ZERO).await.unwrap());
        let start = Instant::now();
        let two = grant(2);
        let wait = claims.claim(name, &two, CLAIM_LEASE);
        let end = async { claims.release(&name, &one) };
        let (told, ()) = tokio::join!(wait, end);
        assert_eq!(told, Ok(false));
        assert_eq!(Instant::now(), start);
    }
}
