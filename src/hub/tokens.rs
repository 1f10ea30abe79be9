//! Tokens that the server has issued: whom each stands for, until it expires or is revoked.

use crate::exchange::{Grant, Revocation, TokenDigest};
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

#[derive(Default)]
pub struct Tokens {
    known: HashMap<TokenDigest, Known>,
    owned: BTreeSet<(Arc<Owner>, TokenDigest)>,
    /// By the end of their time.
    ends: BTreeSet<(u64, TokenDigest)>,
    /// Issued ones that are on their way through the engine.
    coming: usize,
    /// What is on its way, in its order: whose tokens it changes, if that is known.
    on_way: VecDeque<Option<Arc<Owner>>>,
    /// Of users with changes on their way: the tokens that they have then.
    ahead: HashMap<Arc<Owner>, Ahead>,
}

struct Ahead {
    changes: usize,
    tokens: Vec<(u64, TokenDigest)>,
}

struct Known {
    owner: Arc<Owner>,
    /// Unix milliseconds.
    until: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Owner {
    group: Box<str>,
    user: Box<str>,
}

impl Tokens {
    /// Makes a place for one that is to be issued; says whether there is one.
    pub fn reserve(&mut self, tokens_max: usize) -> bool {
        let fits = self.known.len() + self.coming < tokens_max;
        self.coming += usize::from(fits);
        fits
    }

    /// One whose place was reserved is about to be submitted: which of the user's others have to be revoked along with it, so that
    /// there are `user_max` of them then (0: no limit). Those that end first go.
    pub fn order_issue(&mut self, token: TokenDigest, grant: &Grant, user_max: u32) -> Vec<TokenDigest> {
        let owner = Arc::new(Owner { group: grant.group.clone(), user: grant.user.clone() });
        let tokens = self.order(&owner);
        tokens.retain(|(_, known)| *known != token);
        tokens.sort_unstable();
        let more = match user_max {
            0 => 0,
            most => (tokens.len() + 1).saturating_sub(most as usize),
        };
        let revoked: Vec<TokenDigest> = tokens.drain(..more).map(|(_, token)| token).collect();
        tokens.push((grant.until, token));
        revoked.iter().for_each(|_| self.on_way.push_back(None));
        revoked
    }

    /// This is about to be submitted.
    pub fn order_revocation(&mut self, revocation: &Revocation) {
        let owner = match revocation {
            Revocation::User { group, user, .. } => Some(Arc::new(Owner { group: group.clone(), user: user.clone() })),
            // One that is on its way nobody has heard of.
            Revocation::Token(token) => self.known.get(token).map(|known| known.owner.clone()),
        };
        let Some(owner) = owner else { return self.on_way.push_back(None) };
        let tokens = self.order(&owner);
        match revocation {
            Revocation::Token(revoked) => tokens.retain(|(_, token)| token != revoked),
            Revocation::User { except, .. } => tokens.retain(|(_, token)| Some(*token) == *except),
        }
    }

    /// One more change of this user's tokens is on its way: what he has before it.
    fn order(&mut self, owner: &Arc<Owner>) -> &mut Vec<(u64, TokenDigest)> {
        self.on_way.push_back(Some(owner.clone()));
        let Tokens { known, owned, ahead, .. } = self;
        let ahead = ahead.entry(owner.clone()).or_insert_with(|| {
            let tokens = of(owned, owner).filter_map(|token| Some((known.get(&token)?.until, token)));
            Ahead { changes: 0, tokens: tokens.collect() }
        });
        ahead.changes += 1;
        &mut ahead.tokens
    }

    /// The first change that is on its way has arrived, or never will.
    fn arrived(&mut self) {
        let Some(owner) = self.on_way.pop_front().expect("each change was ordered") else { return };
        let Some(ahead) = self.ahead.get_mut(&owner) else { return };
        ahead.changes -= 1;
        if ahead.changes == 0 {
            self.ahead.remove(&owner);
        }
    }

    /// What was ordered first: it takes the place that was reserved.
    pub fn issue(&mut self, token: TokenDigest, grant: Grant) {
        self.arrived();
        self.add(token, grant);
    }

    fn add(&mut self, token: TokenDigest, grant: Grant) {
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

    /// What was ordered first.
    pub fn revoke(&mut self, revocation: Revocation) {
        self.arrived();
        self.meant(revocation).into_iter().for_each(|token| self.remove(token));
        self.check();
    }

    /// Those that this would revoke.
    pub fn meant(&self, revocation: Revocation) -> Vec<TokenDigest> {
        match revocation {
            Revocation::Token(token) => vec![token],
            Revocation::User { group, user, except } => {
                let owner = Arc::new(Owner { group, user });
                of(&self.owned, &owner).filter(|token| Some(*token) != except).collect()
            }
        }
    }

    /// What was ordered first will not be issued: gives back the place that was reserved.
    pub fn give_back(&mut self) {
        self.arrived();
        self.coming -= 1;
    }

    /// What was ordered first will not be revoked.
    pub fn keep(&mut self) {
        self.arrived();
    }

    /// The tokens of a user that count at this time.
    pub fn live_of(&self, group: &str, user: &str, unix_millis: u64) -> Vec<TokenDigest> {
        let owner = Arc::new(Owner { group: group.into(), user: user.into() });
        let live = |token: &TokenDigest| self.known.get(token).is_some_and(|known| known.until > unix_millis);
        of(&self.owned, &owner).filter(live).collect()
    }

    /// Whether this one, which is known, is revoked by what is on its way.
    pub fn is_leaving(&self, token: TokenDigest) -> bool {
        let ahead = self.known.get(&token).and_then(|known| self.ahead.get(&known.owner));
        ahead.is_some_and(|ahead| ahead.tokens.iter().all(|(_, stays)| *stays != token))
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes over one that an earlier process issued.
    pub fn restore(&mut self, token: TokenDigest, grant: Grant) {
        self.coming += 1;
        self.add(token, grant);
    }

    /// Whether the time of one is over.
    pub fn is_due(&self, unix_millis: u64) -> bool {
        self.ends.first().is_some_and(|(until, _)| *until <= unix_millis)
    }

    /// Forgets those whose time is over, at most `budget` of them.
    pub fn expire(&mut self, unix_millis: u64, budget: usize) -> Vec<TokenDigest> {
        let mut expired = Vec::new();
        while expired.len() < budget
            && let Some(&(_, token)) = self.ends.first().filter(|(until, _)| *until <= unix_millis)
        {
            self.remove(token);
            expired.push(token);
        }
        expired
    }

    fn remove(&mut self, token: TokenDigest) {
        if let Some(Known { owner, until }) = self.known.remove(&token) {
            self.owned.remove(&(owner, token));
            self.ends.remove(&(until, token));
        }
    }

    /// Walks over everything. `coming`: so many are on their way at most.
    #[cfg(any(test, fuzzing))]
    pub fn check_all(&self, coming: usize) {
        for (&token, Known { owner, until }) in &self.known {
            assert!(self.owned.contains(&(owner.clone(), token)) && self.ends.contains(&(*until, token)));
        }
        assert_eq!((self.owned.len(), self.ends.len()), (self.known.len(), self.known.len()));
        assert!(self.coming <= coming);
        assert!(coming > 0 || self.on_way.is_empty() && self.ahead.is_empty());
        let known = self.on_way.iter().flatten().count();
        assert_eq!(self.ahead.values().map(|ahead| ahead.changes).sum::<usize>(), known);
    }

    fn check(&self) {
        debug_assert_eq!((self.owned.len(), self.ends.len()), (self.known.len(), self.known.len()));
    }
}

/// The tokens of this owner.
fn of(owned: &BTreeSet<(Arc<Owner>, TokenDigest)>, owner: &Arc<Owner>) -> impl Iterator<Item = TokenDigest> {
    let all = (owner.clone(), TokenDigest([0; 32]))..=(owner.clone(), TokenDigest([255; 32]));
    owned.range(all).map(|(_, token)| *token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Answer, Notice, Question, Refusal};
    use crate::hub::request::{ToHub, ToReactor};
    use crate::hub::testing::{BEGIN, Bench, Gate, settings};
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn token(number: u8) -> TokenDigest {
        TokenDigest([number; 32])
    }

    fn grant(user: &str, seconds: u64) -> Grant {
        Grant { group: "g".into(), user: user.into(), until: (BEGIN + seconds) * 1_000 }
    }

    fn issue(bench: &mut Bench, number: u8, grant: Grant) -> Result<(), Refusal> {
        match bench.ask(Question::Issue { token: token(number), grant, user_max: 0 }) {
            Answer::Issued => Ok(()),
            Answer::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn find(bench: &mut Bench, number: u8) -> Option<Grant> {
        match bench.ask(Question::Grant(token(number))) {
            Answer::Grant(grant) => grant,
            other => panic!("{other:?}"),
        }
    }

    fn revoke(bench: &mut Bench, revocation: Revocation) {
        assert!(matches!(bench.ask(Question::Revoke(revocation)), Answer::Announced));
    }

    #[test]
    fn an_issued_token_stands_for_its_user_until_the_wall_clock_says_that_it_is_over() {
        let mut bench = Bench::new(settings());
        assert_eq!(find(&mut bench, 1), None);
        issue(&mut bench, 1, grant("u", 10)).unwrap();
        assert_eq!((find(&mut bench, 1), find(&mut bench, 2)), (Some(grant("u", 10)), None));
        bench.pass(10 * SECOND - Duration::from_millis(1));
        assert!(find(&mut bench, 1).is_some());
        bench.pass(Duration::from_millis(1));
        assert_eq!(bench.hub.tokens.find(token(1), bench.now.unix_millis()), None, "whether or not it was cleared away");
        assert_eq!((find(&mut bench, 1), bench.hub.tokens.known.len()), (None, 0));
    }

    #[test]
    fn a_token_that_is_issued_once_more_stands_for_its_new_user_only() {
        let mut bench = Bench::new(settings());
        issue(&mut bench, 1, grant("u", 10)).unwrap();
        issue(&mut bench, 1, grant("v", 20)).unwrap();
        revoke(&mut bench, Revocation::User { group: "g".into(), user: "u".into(), except: None });
        bench.pass(15 * SECOND);
        assert_eq!(find(&mut bench, 1), Some(grant("v", 20)));
    }

    #[test]
    fn a_revocation_takes_one_token_or_all_of_a_user_in_a_group() {
        let mut bench = Bench::new(settings());
        let elsewhere = Grant { group: "h".into(), ..grant("u", 10) };
        for (number, grant) in [grant("u", 10), grant("u", 20), grant("v", 10), elsewhere, grant("t", 10)].into_iter().enumerate()
        {
            issue(&mut bench, number as u8, grant).unwrap();
        }
        revoke(&mut bench, Revocation::Token(token(4)));
        assert_eq!(find(&mut bench, 4), None);
        revoke(&mut bench, Revocation::User { group: "g".into(), user: "u".into(), except: None });
        let known = [0, 1, 2, 3, 4].map(|number| find(&mut bench, number).is_some());
        assert_eq!(known, [false, false, true, true, false]);
        // Nobody has to know whether there was one.
        revoke(&mut bench, Revocation::Token(token(9)));
        revoke(&mut bench, Revocation::User { group: "g".into(), user: "nobody".into(), except: None });
        assert_eq!(bench.hub.tokens.known.len(), 2);
    }

    #[test]
    fn every_reactor_hears_of_a_revocation_before_its_author() {
        let mut bench = Bench::new(settings());
        let revocation = Revocation::User { group: "g".into(), user: "u".into(), except: None };
        bench.handle(ToHub::Ask { origin: Bench::origin(0), question: Question::Revoke(revocation.clone()) });
        let is_it =
            |reply: &ToReactor| matches!(reply, ToReactor::Announce(told) if **told == Notice::Revoked(revocation.clone()));
        let [told, ToReactor::Answer { .. }] = &bench.inbox(0)[..] else { panic!("told, then answered") };
        let [elsewhere] = &bench.inbox(1)[..] else { panic!("told once") };
        assert!(is_it(told) && is_it(elsewhere));
    }

    #[test]
    fn nobody_has_a_token_before_it_is_released_and_nobody_loses_one_before() {
        let mut bench = Bench::new(settings());
        let (gate, allowed) = Gate::shut();
        bench.hub.engine = Box::new(gate);
        let now = bench.now;
        let ask = |bench: &mut Bench, question| bench.hub.handle(ToHub::Ask { origin: Bench::origin(0), question }, now);
        ask(&mut bench, Question::Issue { token: token(1), grant: grant("u", 10), user_max: 0 });
        ask(&mut bench, Question::Revoke(Revocation::Token(token(1))));
        let known = |bench: &Bench| bench.hub.tokens.find(token(1), now.unix_millis()).is_some();
        assert_eq!((known(&bench), bench.hub.take_acknowledgements().count()), (false, 0));
        for (is_known, answers) in [(true, 1), (false, 1)] {
            allowed.store(1, Relaxed);
            bench.hub.tick(now);
            assert_eq!((known(&bench), bench.hub.take_acknowledgements().count()), (is_known, answers));
        }
    }

    #[test]
    fn there_are_so_many_tokens_and_expired_ones_make_room() {
        let mut settings = settings();
        settings.tokens_max = 2;
        let mut bench = Bench::new(settings);
        issue(&mut bench, 1, grant("u", 10)).unwrap();
        let (gate, allowed) = Gate::shut();
        bench.hub.engine = Box::new(gate);
        let (now, origin) = (bench.now, Bench::origin(0));
        let question = Question::Issue { token: token(2), grant: grant("u", 20), user_max: 0 };
        bench.hub.handle(ToHub::Ask { origin, question }, now);
        let question = Question::Issue { token: token(3), grant: grant("u", 20), user_max: 0 };
        bench.hub.handle(ToHub::Ask { origin, question: question.clone() }, now);
        let mut replies = Vec::new();
        bench.hub.take_replies(0, &mut replies);
        let refused = |reply: &ToReactor| matches!(reply, ToReactor::Answer { answer, .. } if matches!(**answer, Answer::Refused(Refusal::OutOfMemory)));
        assert!(replies.iter().all(refused) && replies.len() == 1, "one that is on its way counts");
        allowed.store(9, Relaxed);
        bench.tick();
        assert_eq!(issue(&mut bench, 3, grant("u", 20)), Err(Refusal::OutOfMemory));
        bench.pass(10 * SECOND);
        issue(&mut bench, 3, grant("u", 20)).unwrap();
        assert_eq!([1, 2, 3].map(|number| find(&mut bench, number).is_some()), [false, true, true]);
    }

    fn issue_few(bench: &mut Bench, number: u8, grant: Grant) {
        let question = Question::Issue { token: token(number), grant, user_max: 2 };
        bench.handle(ToHub::Ask { origin: Bench::origin(0), question });
    }

    #[test]
    fn a_user_has_so_many_tokens_and_those_that_end_first_go_with_the_new_one() {
        let mut bench = Bench::new(settings());
        for (number, until) in [(1, 30), (2, 10), (3, 20)] {
            issue(&mut bench, number, grant("u", until)).unwrap();
        }
        issue(&mut bench, 4, grant("v", 10)).unwrap();
        bench.inbox(1);
        issue_few(&mut bench, 5, grant("u", 5));
        let known = |bench: &mut Bench| [1, 2, 3, 4, 5].map(|number| find(bench, number).is_some());
        assert_eq!(known(&mut bench), [true, false, false, true, true], "the new one stays although it ends first");
        let told = bench.inbox(1).into_iter().map(|reply| match reply {
            ToReactor::Announce(notice) => (*notice).clone(),
            other => panic!("{other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), [2, 3].map(|number| Notice::Revoked(Revocation::Token(token(number)))));
        // Once more the same one: it takes its own place.
        issue_few(&mut bench, 5, grant("u", 40));
        assert_eq!(known(&mut bench), [true, false, false, true, true]);
        issue_few(&mut bench, 6, grant("u", 50));
        assert_eq!(known(&mut bench), [false, false, false, true, true]);
    }

    #[test]
    fn how_many_tokens_a_user_has_is_judged_by_what_is_on_its_way() {
        let mut bench = Bench::new(settings());
        issue(&mut bench, 1, grant("u", 10)).unwrap();
        let (gate, allowed) = Gate::shut();
        bench.hub.engine = Box::new(gate);
        let now = bench.now;
        let ask = |bench: &mut Bench, question| bench.hub.handle(ToHub::Ask { origin: Bench::origin(0), question }, now);
        let few = |number, until| Question::Issue { token: token(number), grant: grant("u", until), user_max: 2 };
        ask(&mut bench, few(2, 20));
        ask(&mut bench, Question::Revoke(Revocation::Token(token(1))));
        ask(&mut bench, few(3, 30));
        ask(&mut bench, few(4, 40));
        let other = Revocation::User { group: "g".into(), user: "u".into(), except: Some(token(4)) };
        ask(&mut bench, Question::Revoke(other));
        ask(&mut bench, few(5, 50));
        let mut steps = Vec::new();
        for _ in 0..6 {
            allowed.store(1, Relaxed);
            bench.hub.tick(now);
            let known = [1, 2, 3, 4, 5].map(|number| bench.hub.tokens.find(token(number), now.unix_millis()).is_some());
            steps.push(known.map(u8::from));
        }
        let expected = [[1, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]];
        assert_eq!(steps, expected);
        allowed.store(9, Relaxed);
        bench.tick();
    }

    #[test]
    fn a_revocation_of_a_user_leaves_one_token_out() {
        let mut bench = Bench::new(settings());
        (1..=3).for_each(|number| issue(&mut bench, number, grant("u", 10)).unwrap());
        revoke(&mut bench, Revocation::User { group: "g".into(), user: "u".into(), except: Some(token(2)) });
        assert_eq!([1, 2, 3].map(|number| find(&mut bench, number).is_some()), [false, true, false]);
    }

    #[test]
    fn nothing_of_a_token_is_shown() {
        let grant = Grant { group: "secret".into(), user: "secret".into(), until: 5 };
        let issue = Question::Issue { token: token(7), grant: grant.clone(), user_max: 0 };
        assert_eq!(format!("{issue:?}"), "Issue { token: TokenDigest(…), grant: Grant(until 5), user_max: 0 }");
        let user = Revocation::User { group: "secret".into(), user: "secret".into(), except: None };
        let notice = Notice::Revoked(Revocation::Token(token(7)));
        let shown = format!("{:?} {user:?} {notice:?}", Answer::Grant(Some(grant)));
        assert_eq!(shown, "Grant(Some(Grant(until 5))) Revocation::User(…) Revoked(Revocation::Token(…))");
    }
}
