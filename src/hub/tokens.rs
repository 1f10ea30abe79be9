//! Tokens that the server has issued: whom each stands for, until it expires or is revoked.

use crate::exchange::{Grant, Revocation, TokenDigest};
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Default)]
pub struct Tokens {
    known: HashMap<TokenDigest, Known>,
    owned: BTreeSet<(Arc<Owner>, TokenDigest)>,
    /// By the end of their time.
    ends: BTreeSet<(u64, TokenDigest)>,
    /// Issued ones that are on their way through the engine.
    coming: usize,
}

struct Known {
    owner: Arc<Owner>,
    /// Unix milliseconds.
    until: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    group: Box<str>,
    user: Box<str>,
}

impl Tokens {
    /// Makes a place for one that is to be issued; says whether there is one. Expired ones make room, at most `budget` of them.
    pub fn reserve(&mut self, tokens_max: usize, unix_millis: u64, budget: usize) -> bool {
        if self.known.len() + self.coming >= tokens_max {
            self.expire(unix_millis, budget);
        }
        let fits = self.known.len() + self.coming < tokens_max;
        self.coming += usize::from(fits);
        fits
    }

    /// Takes the place that was reserved.
    pub fn issue(&mut self, token: TokenDigest, grant: Grant) {
        self.coming -= 1;
        self.remove(token);
        let Grant { group, user, until } = grant;
        let owner = Arc::new(Owner { group, user });
        self.owned.insert((owner.clone(), token));
        self.ends.insert((until, token));
        self.known.insert(token, Known { owner, until });
        self.check();
    }

    pub fn find(&self, token: TokenDigest, unix_millis: u64) -> Option<Grant> {
        let Known { owner, until } = self.known.get(&token)?;
        (*until > unix_millis).then(|| Grant { group: owner.group.clone(), user: owner.user.clone(), until: *until })
    }

    pub fn revoke(&mut self, revocation: Revocation) {
        match revocation {
            Revocation::Token(token) => self.remove(token),
            Revocation::User { group, user } => {
                let owner = Arc::new(Owner { group, user });
                let all = (owner.clone(), TokenDigest([0; 32]))..=(owner, TokenDigest([255; 32]));
                let tokens: Vec<TokenDigest> = self.owned.range(all).map(|(_, token)| *token).collect();
                tokens.into_iter().for_each(|token| self.remove(token));
            }
        }
        self.check();
    }

    /// Forgets those whose time is over, at most `budget` of them.
    pub fn expire(&mut self, unix_millis: u64, budget: usize) {
        for _ in 0..budget {
            let Some(&(_, token)) = self.ends.first().filter(|(until, _)| *until <= unix_millis) else { break };
            self.remove(token);
        }
    }

    fn remove(&mut self, token: TokenDigest) {
        if let Some(Known { owner, until }) = self.known.remove(&token) {
            self.owned.remove(&(owner, token));
            self.ends.remove(&(until, token));
        }
    }

    /// Walks over everything, when nothing is on its way.
    #[cfg(any(test, fuzzing))]
    pub fn check_all(&self) {
        for (&token, Known { owner, until }) in &self.known {
            assert!(self.owned.contains(&(owner.clone(), token)) && self.ends.contains(&(*until, token)));
        }
        assert_eq!((self.owned.len(), self.ends.len(), self.coming), (self.known.len(), self.known.len(), 0));
    }

    fn check(&self) {
        debug_assert_eq!((self.owned.len(), self.ends.len()), (self.known.len(), self.known.len()));
    }
}
