//! The records of one endpoint: in order, by id, by owner and by name; and what they will be once all that was ordered is released.

use crate::engine::RecordChange;
use crate::hub::records::table::{Row, Table};
use crate::record::{Record, RecordId, RecordList};
use std::borrow::Borrow;
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Index {
    list: RecordList,
    ids: Table<Arc<Record>>,
    owned: Table<(RecordId, Owned)>,
    names: Table<(Box<str>, RecordId)>,
    /// Of records with changes on their way through the engine: what they are then, and how many changes that are.
    ahead: Table<(RecordId, Ahead<Arc<Record>>)>,
    /// The same of names: whose they are then.
    names_ahead: Table<(Box<str>, Ahead<RecordId>)>,
    /// Records then.
    count: u64,
}

#[derive(Debug)]
struct Ahead<T> {
    then: Option<T>,
    changes: u32,
}

/// Most owners have one record: a user record owns itself.
#[derive(Debug)]
enum Owned {
    One(Arc<Record>),
    Several(RecordList),
}

impl Index {
    #[cfg(any(test, fuzzing))]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Nothing is there, and nothing on its way.
    pub fn is_unused(&self) -> bool {
        self.list.is_empty() && self.ahead.is_empty()
    }

    /// Nothing is on its way.
    pub fn is_quiet(&self) -> bool {
        self.ahead.is_empty()
    }

    pub fn find(&self, id: RecordId) -> Option<&Arc<Record>> {
        self.ids.get(&id)
    }

    pub fn named(&self, name: &str) -> Option<&Arc<Record>> {
        self.find(self.names.get(name)?.1)
    }

    /// The records of this owner, or all.
    pub fn list(&self, of: Option<RecordId>) -> RecordList {
        match of.map(|owner| self.owned.get(&owner)) {
            None => self.list.clone(),
            Some(None) => RecordList::default(),
            Some(Some((_, Owned::Several(list)))) => list.clone(),
            Some(Some((_, Owned::One(record)))) => {
                let mut list = RecordList::default();
                list.push(record.clone());
                list
            }
        }
    }

    /// The oldest so many.
    pub fn oldest(&self, count: usize) -> Vec<Arc<Record>> {
        self.list.iter().take(count).cloned().collect()
    }

    /// The record as it was ordered.
    pub fn ordered(&self, id: RecordId) -> Option<&Arc<Record>> {
        match self.ahead.get(&id) {
            Some((_, ahead)) => ahead.then.as_ref(),
            None => self.find(id),
        }
    }

    /// Whose name this is, as it was ordered.
    pub fn holder(&self, name: &str) -> Option<RecordId> {
        match self.names_ahead.get(name) {
            Some((_, ahead)) => ahead.then,
            None => self.names.get(name).map(|(_, id)| *id),
        }
    }

    /// How many records were ordered.
    pub fn ordered_count(&self) -> u64 {
        self.count
    }

    /// This is about to be submitted.
    pub fn order(&mut self, change: &RecordChange) {
        let (before, after) = (change.before(), change.after());
        self.count = self.count - u64::from(before.is_some()) + u64::from(after.is_some());
        order_one(&mut self.ahead, &change.record().id, after.cloned());
        // In this order a name that stays is held in the end.
        for name in before.into_iter().flat_map(|record| names_of(record)) {
            order_one(&mut self.names_ahead, name, None);
        }
        for name in after.into_iter().flat_map(|record| names_of(record)) {
            order_one(&mut self.names_ahead, name, Some(change.record().id));
        }
    }

    /// It is no more on its way: released, or discarded.
    fn arrived(&mut self, change: &RecordChange) {
        arrived_one(&mut self.ahead, &change.record().id);
        for record in change.before().into_iter().chain(change.after()) {
            names_of(record).for_each(|name| arrived_one(&mut self.names_ahead, name));
        }
    }

    /// It never happened.
    pub fn discard(&mut self, change: &RecordChange) {
        self.arrived(change);
        // The first of several is taken back first, although a later one may have deleted what it created.
        let [more, less] = [change.before(), change.after()].map(|record| u64::from(record.is_some()));
        self.count = self.count.wrapping_add(more).wrapping_sub(less);
    }

    /// It was released.
    pub fn release(&mut self, change: &RecordChange) {
        self.arrived(change);
        self.apply(change);
    }

    /// A record that an earlier process left; those with greater places come later. False if its id or a name is known already.
    pub fn restore(&mut self, record: Arc<Record>) -> bool {
        let fits = self.find(record.id).is_none() && names_of(&record).all(|name| self.names.get(name).is_none());
        if fits {
            self.count += 1;
            self.apply(&RecordChange::Create(record));
        }
        fits
    }

    /// It is gone without a trace, although nobody ordered that.
    pub fn drop_record(&mut self, record: &Arc<Record>) {
        self.count -= 1;
        self.apply(&RecordChange::Delete(record.clone()));
    }

    fn apply(&mut self, change: &RecordChange) {
        for name in change.before().into_iter().flat_map(|record| names_of(record)) {
            self.names.remove(name);
        }
        for name in change.after().into_iter().flat_map(|record| names_of(record)) {
            self.names.insert((name.clone(), change.record().id));
        }
        match change {
            RecordChange::Create(record) => {
                self.list.push(record.clone());
                self.ids.insert(record.clone());
                if let Some(owner) = record.owner {
                    own(&mut self.owned, owner, record);
                }
            }
            RecordChange::Replace { after, .. } => {
                self.list.replace(after.clone());
                self.ids.insert(after.clone());
                match after.owner.and_then(|owner| self.owned.get_mut(&owner)) {
                    Some((_, Owned::One(record))) => *record = after.clone(),
                    Some((_, Owned::Several(list))) => drop(list.replace(after.clone())),
                    None => {}
                }
            }
            RecordChange::Delete(record) => {
                self.list.remove(record.place);
                self.ids.remove(&record.id);
                if let Some(owner) = record.owner {
                    disown(&mut self.owned, owner, record);
                }
            }
        }
    }

    /// Walks over everything. Returns the bytes that its records take.
    #[cfg(any(test, fuzzing))]
    pub fn check_all(&self, bytes_of: impl Fn(&Record) -> u64, is_quiet: bool) -> u64 {
        self.list.check_all();
        assert_eq!(self.ids.len(), self.list.len());
        let (mut names, mut owned) = (0, 0);
        for record in self.list.iter() {
            assert!(Arc::ptr_eq(self.find(record.id).expect("each has its id"), record));
            assert!(names_of(record).all(|name| self.names.get(name).is_some_and(|(_, id)| *id == record.id)));
            names += names_of(record).count();
            if let Some(owner) = record.owner {
                let found = self.list(Some(owner));
                assert!(Arc::ptr_eq(found.get(record.place).expect("its owner has it"), record));
                owned += 1;
            }
        }
        assert_eq!(names, self.names.len());
        let lists = self.owned.iter().map(|(owner, _)| self.list(Some(*owner)));
        assert_eq!(lists.inspect(|list| list.check_all()).map(|list| list.len()).sum::<usize>(), owned);
        if is_quiet {
            assert!(self.ahead.is_empty() && self.names_ahead.is_empty());
        }
        let ahead = self.ahead.iter().map(|(id, ahead)| i64::from(ahead.then.is_some()) - i64::from(self.find(*id).is_some()));
        assert_eq!(self.count as i64, self.list.len() as i64 + ahead.sum::<i64>());
        let released: u64 =
            self.list.iter().filter(|record| self.ahead.get(&record.id).is_none()).map(|record| bytes_of(record)).sum();
        released + self.ahead.iter().filter_map(|(_, ahead)| ahead.then.as_ref()).map(|record| bytes_of(record)).sum::<u64>()
    }
}

fn names_of(record: &Record) -> impl Iterator<Item = &Box<str>> {
    record.account.iter().flat_map(|account| account.names.iter())
}

fn order_one<K, T>(table: &mut Table<(K, Ahead<T>)>, key: &K, then: Option<T>)
where
    (K, Ahead<T>): Row,
    K: Clone + Borrow<<(K, Ahead<T>) as Row>::Key>,
{
    match table.get_mut(key.borrow()) {
        Some((_, ahead)) => *ahead = Ahead { then, changes: ahead.changes + 1 },
        None => table.insert((key.clone(), Ahead { then, changes: 1 })),
    }
}

fn arrived_one<K, T>(table: &mut Table<(K, Ahead<T>)>, key: &<(K, Ahead<T>) as Row>::Key)
where
    (K, Ahead<T>): Row,
{
    let Some((_, ahead)) = table.get_mut(key) else { return debug_assert!(false, "it was ordered") };
    ahead.changes -= 1;
    if ahead.changes == 0 {
        table.remove(key);
    }
}

fn own(owned: &mut Table<(RecordId, Owned)>, owner: RecordId, record: &Arc<Record>) {
    match owned.get_mut(&owner) {
        None => owned.insert((owner, Owned::One(record.clone()))),
        Some((_, Owned::Several(list))) => list.push(record.clone()),
        Some((_, one @ Owned::One(_))) => {
            let mut list = RecordList::default();
            if let Owned::One(first) = &*one {
                list.push(first.clone());
            }
            list.push(record.clone());
            *one = Owned::Several(list);
        }
    }
}

fn disown(owned: &mut Table<(RecordId, Owned)>, owner: RecordId, record: &Arc<Record>) {
    let is_over = match owned.get_mut(&owner) {
        Some((_, Owned::Several(list))) => {
            list.remove(record.place);
            list.is_empty()
        }
        Some((_, Owned::One(_))) => true,
        None => false,
    };
    if is_over {
        owned.remove(&owner);
    }
}
