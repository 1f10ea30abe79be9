//! The database against a disk that fails: what was committed is there, what is damaged is refused.

use crate::message::{Also, Message, Seq, Stamp};
use crate::record::{Account, Record, RecordId};
use crate::storage::faulty::{Disk, Random};
use crate::storage::model::Model;
use crate::storage::redb::{Directory, Medium as _, Redb};
use crate::storage::{Batch, KnownKey, Loaded, Notes, RecordRow, Remains, RemovedEndpoint, Storage, Stored, Why};
use std::path::PathBuf;
use std::sync::Arc;

fn stamp(seq: u64) -> Stamp {
    Stamp { seq: Seq(seq), seconds: seq / 10, tag: seq as u32 }
}

fn message(seq: u64, topic: &str, payload: &[u8]) -> Stored {
    let mut message = Message::new(stamp(seq), topic.into(), seq as i64, payload.into());
    (message.epoch, message.offset) = (1, seq);
    Stored { message: Arc::new(message), unix_micros: seq * 7, previous: stamp(seq - 1), group: None }
}

fn record(place: u64, random: &mut Random) -> Arc<Record> {
    let names = ["username\0anna", "email\0a@b.c"][..random.below(3)].iter().map(|&name| name.into());
    let account = (random.below(2) == 0).then(|| Box::new(Account { names: names.collect(), password: "$argon2id$x".into() }));
    let owner = (random.below(2) == 0).then_some(RecordId(u128::MAX - u128::from(place)));
    let data = vec![b'0'; random.below(200)].into();
    let id = RecordId(u128::from(place) << 64);
    Arc::new(Record { id, place: Seq(place), owner, created: place, updated: random.below(1_000) as u64, data, account })
}

fn alter(random: &mut Random, model: &Model, seq: &mut u64, batch: &mut Batch) {
    let known: Vec<u64> = model.records.keys().copied().collect();
    for _ in 0..random.below(4) {
        *seq += 1;
        batch.records.push(RecordRow::Put("e".into(), record(*seq, random)));
    }
    if known.len() > 3 {
        let mut some = || known[random.below(known.len())];
        let [replaced, deleted, gone, again] = [some(), some(), some(), some()];
        batch.records.push(RecordRow::Put("f".into(), record(replaced, random)));
        batch.records.push(RecordRow::Delete(Seq(deleted)));
        batch.notes.gone.push(Seq(gone));
        batch.notes.records.push(RecordRow::Put("e".into(), record(again, random)));
        let removed = RemovedEndpoint { since: *seq, kept_millis: 7 };
        batch.notes.endpoints.insert(["e", "f"][random.below(2)].into(), (random.below(3) > 0).then_some(removed));
        batch.notes.leaving.insert(["e", "f"][random.below(2)].into(), (random.below(3) > 0).then_some(Seq(gone)));
    }
}

/// Writes and deletes of every kind.
fn batch(random: &mut Random, model: &Model, seq: &mut u64) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..1 + random.below(6) {
        *seq += 1 + random.below(3) as u64;
        let most = if random.below(8) == 0 { 20_000 } else { 300 };
        let payload = vec![*seq as u8; random.below(most)];
        let mut stored = message(*seq, ["a", "b", "c"][random.below(3)], &payload);
        if random.below(3) == 0
            && let Some(message) = Arc::get_mut(&mut stored.message)
        {
            message.also = Some(Box::new(Also { topic: "second".into(), epoch: 5, offset: *seq }));
        }
        batch.messages.push(stored);
        if random.below(3) == 0 {
            let key = Arc::new(("a".into(), format!("k{seq}").into()));
            batch.keys.push(KnownKey { key, stamp: stamp(*seq), unix_micros: 3 });
        }
    }
    if random.below(2) == 0 {
        alter(random, model, seq, &mut batch);
    }
    batch.head = stamp(*seq);
    let known: Vec<u64> = model.messages.keys().copied().collect();
    let many = random.below(4);
    batch.notes.evicted.extend(known.iter().take(many).map(|&seq| Seq(seq)));
    if random.below(4) == 0 && !known.is_empty() {
        batch.deleted.push(Seq(known[random.below(known.len())]));
        batch.ended.push("b".into());
        batch.notes.removed = stamp(*seq);
    }
    if random.below(3) == 0 {
        let remains = Remains { floor: stamp(*seq), epoch: 1, offset: 2, published: 3, forgotten: Some(*seq) };
        batch.notes.topics.insert("d".into(), (random.below(3) > 0).then_some(remains));
        batch.notes.topics.insert(format!("t{}", random.below(9)).as_str().into(), Some(remains));
    }
    batch.notes.keys_until = Seq(seq.saturating_sub(40));
    if random.below(4) == 0 {
        (batch.notes.ahead, batch.notes.renewed) = (Some(random.below(2) == 0), Seq(random.below(1_000) as u64));
    }
    batch.notes.begins = model.begins.is_none().then(|| stamp(1));
    batch
}

#[test]
fn any_subset_of_unsynced_writes_may_be_lost_and_every_commit_that_returned_is_there() {
    let (mut crashes, mut torn, mut kept) = (0, 0, 0);
    for seed in 1..=60 {
        let (disk, mut random) = (Disk::new(seed), Random(seed * 7_919));
        let (mut model, mut seq) = (Model::default(), 1);
        for crash in 0..8 {
            let (mut storage, loaded) = disk.load().unwrap_or_else(|why| panic!("seed {seed}, crash {crash}: {why:?}"));
            assert_eq!(Model::of(&loaded), model, "seed {seed}, crash {crash}");
            disk.with(|state| state.left = Some(random.below(60)));
            let pending = loop {
                let next = batch(&mut random, &model, &mut seq);
                if storage.commit(&next).is_err() {
                    break next;
                }
                model.apply(&next);
            };
            drop(storage);
            disk.lose_power();
            crashes += 1;
            // The batch that nobody was told of is there as a whole, or not at all.
            let (storage, loaded) = disk.load().unwrap_or_else(|why| panic!("seed {seed}, crash {crash}: {why:?}"));
            drop(storage);
            let mut with = model.clone();
            with.apply(&pending);
            let found = Model::of(&loaded);
            if found == with {
                (model, kept) = (with, kept + 1);
            } else {
                torn += 1;
            }
            assert_eq!(found, model, "seed {seed}, crash {crash}");
        }
    }
    assert!(crashes == 480 && torn > 100 && kept > 10, "{crashes} crashes, {torn} lost the last batch, {kept} kept it");
}

/// Some batches, and what a process finds of them.
fn filled(seed: u64, batches: usize) -> (Disk, Model) {
    let (disk, mut random, mut model, mut seq) = (Disk::new(seed), Random(seed), Model::default(), 1);
    let (mut storage, _) = disk.load().unwrap();
    for _ in 0..batches {
        let next = batch(&mut random, &model, &mut seq);
        storage.commit(&next).unwrap();
        model.apply(&next);
    }
    (disk, model)
}

/// The file is refused and not changed, or it holds what it held. Returns whether it was refused.
fn refused_or_right(file: Vec<u8>, noted: Option<u64>, model: &Model, what: &str) -> bool {
    let disk = Disk::holding(file.clone(), 1);
    disk.note_is(noted);
    match disk.load() {
        Ok((_, loaded)) => {
            assert_eq!(Model::of(&loaded), *model, "{what}");
            false
        }
        Err(Why::Damaged(_) | Why::Foreign | Why::Newer(_)) => {
            assert!(disk.file() == file, "{what}: it was changed");
            true
        }
        Err(other) => panic!("{what}: {other:?}"),
    }
}

/// What a server left that was killed, and one that was stopped.
fn left() -> [(Vec<u8>, Option<u64>, Model); 2] {
    let (disk, model) = filled(5, 12);
    let stopped = disk.file();
    let noted = disk.noted();
    let (storage, _) = disk.load().unwrap();
    let killed = disk.file();
    drop(storage);
    [(stopped, noted, model.clone()), (killed, noted, model)]
}

#[test]
fn a_truncated_file_is_refused_and_left_as_it_is() {
    for (file, noted, model) in left() {
        for part in 0..64 {
            let length = file.len() * part / 64;
            assert!(refused_or_right(file[..length].to_vec(), noted, &model, &format!("{length} bytes")));
        }
        for length in [1, 8, 9, 63, 64, 320, file.len() - 1] {
            assert!(refused_or_right(file[..length].to_vec(), noted, &model, &format!("{length} bytes")));
        }
        assert!(!refused_or_right(file, noted, &model, "whole"));
    }
}

#[test]
fn a_flipped_bit_is_refused_or_changes_nothing() {
    let mut refused = 0;
    for (file, noted, model) in left() {
        let mut random = Random(20_261_128);
        // The header: what is in it once, and a part of the two slots that have sums of their own. And anywhere.
        let bits = (0..64 * 8).chain((64 * 8..320 * 8).step_by(7)).chain((0..200).map(|_| random.below(file.len() * 8)));
        for bit in bits {
            let mut file = file.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            refused += usize::from(refused_or_right(file, noted, &model, &format!("bit {bit}")));
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn other_kinds_of_damage_are_refused_or_change_nothing() {
    for (file, noted, model) in left() {
        let mut random = Random(77);
        for round in 0..90 {
            let mut file = file.clone();
            let (from, length) = (random.below(file.len()), 1 + random.below(9_000));
            let to = (from + length).min(file.len());
            match round % 3 {
                0 => file[from..to].fill(0),
                1 => file[from..to].iter_mut().for_each(|byte| *byte = random.below(256) as u8),
                // A piece of the file at another place.
                _ => {
                    let source = random.below(file.len() - (to - from) + 1);
                    file.copy_within(source..source + (to - from), from);
                }
            }
            refused_or_right(file, noted, &model, &format!("round {round}, {from}..{to}"));
        }
    }
}

#[test]
fn a_file_that_is_older_than_what_was_answered_is_refused() {
    let (disk, model) = filled(3, 5);
    let old = disk.file();
    let (mut storage, _) = disk.load().unwrap();
    storage.commit(&batch(&mut Random(9), &model, &mut 1_000)).unwrap();
    drop(storage);
    assert!(refused_or_right(old.clone(), Some(6), &model, "the note knows of a sixth batch"));
    for noted in [None, Some(5), Some(4)] {
        assert!(!refused_or_right(old.clone(), noted, &model, "as new as the note"));
    }
}

#[test]
fn after_a_failed_sync_nothing_is_committed_before_the_file_was_opened_anew() {
    for seed in 1..=60 {
        let (disk, mut model) = filled(seed, 6);
        let (mut storage, loaded) = disk.load().unwrap();
        let (mut random, mut seq) = (Random(seed), 10_000);
        let last = loaded.head.unwrap().seq;
        disk.with(|state| state.syncs_fail = true);
        let lost = batch(&mut random, &model, &mut seq);
        assert!(storage.commit(&lost).is_err());
        assert!(storage.commit(&lost).is_err(), "seed {seed}: a second sync would have said that all is well");
        assert!(storage.recover(last, &Batch { head: lost.head, ..Batch::default() }).is_err(), "the disk still fails");
        disk.with(|state| state.syncs_fail = false);
        // The stamps stay given; what they were given to is gone.
        let owed = Batch { head: lost.head, notes: Notes { removed: stamp(2), ..Notes::default() }, ..Batch::default() };
        storage.recover(last, &owed).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        model.apply(&owed);
        let next = batch(&mut random, &model, &mut seq);
        storage.commit(&next).unwrap();
        model.apply(&next);
        drop(storage);
        disk.lose_power();
        assert_eq!(Model::of(&disk.load().unwrap().1), model, "seed {seed}");
    }
}

#[test]
fn after_a_failed_sync_that_kept_all_writes_nothing_is_believed_that_was_not_answered() {
    let mut kept = 0;
    for seed in 1..=60 {
        let (disk, mut model) = filled(seed, 6);
        let (mut storage, loaded) = disk.load().unwrap();
        let (mut random, mut seq) = (Random(seed), 10_000);
        let last = loaded.head.unwrap().seq;
        // A commit syncs its pages, then what points to them, and a file that grows once more.
        let sync = random.below(2);
        disk.with(|state| state.lying_sync = Some(sync));
        let lost = batch(&mut random, &Model::default(), &mut seq);
        assert!(storage.commit(&lost).is_err());
        assert!(storage.commit(&lost).is_err(), "seed {seed}: it is closed");
        let (_, found) = Disk::holding(disk.file(), 1).load().unwrap();
        let there = found.messages.iter().filter(|stored| stored.message.stamp.seq > last).count();
        assert!([0, lost.messages.len()].contains(&there), "seed {seed}: all of it or nothing");
        kept += usize::from(there > 0);
        let owed = Batch { head: lost.head, notes: lost.notes, ..Batch::default() };
        storage.recover(last, &owed).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        model.apply(&owed);
        let next = batch(&mut random, &model, &mut seq);
        storage.commit(&next).unwrap();
        model.apply(&next);
        drop(storage);
        disk.lose_power();
        assert_eq!(Model::of(&disk.load().unwrap().1), model, "seed {seed}");
    }
    assert!((15..45).contains(&kept), "{kept}");
}

#[test]
fn records_that_were_created_after_the_last_commit_go_with_a_recovery_and_others_stay() {
    let (disk, mut random) = (Disk::new(3), Random(11));
    let (mut storage, _) = disk.load().unwrap();
    let rows = |places: &[u64], random: &mut Random| -> Vec<RecordRow> {
        places.iter().map(|&place| RecordRow::Put("e".into(), record(place, random))).collect()
    };
    storage.commit(&Batch { head: stamp(10), records: rows(&[3, 4, 5], &mut random), ..Batch::default() }).unwrap();
    let before = Model::of(&disk_model(&disk, storage));
    // It reaches the disk, but nobody could say so: one is new, one is another one, one is gone.
    let (mut storage, _) = disk.load().unwrap();
    let mut unsure = Batch { head: stamp(20), records: rows(&[4, 15], &mut random), ..Batch::default() };
    unsure.records.push(RecordRow::Delete(Seq(5)));
    storage.commit(&unsure).unwrap();
    let again = [4, 5].map(|place| {
        let (name, record) = &before.records[&place];
        RecordRow::Put(name.as_str().into(), Arc::new(record.clone()))
    });
    let notes = Notes { records: again.into(), ..Notes::default() };
    storage.recover(Seq(10), &Batch { head: stamp(30), notes, ..Batch::default() }).unwrap();
    assert_eq!(Model::of(&disk_model(&disk, storage)).records, before.records);
}

fn disk_model(disk: &Disk, storage: Redb<Disk>) -> Loaded {
    drop(storage);
    disk.load().unwrap().1
}

#[test]
fn a_file_is_as_before_there_were_records_until_it_has_some() {
    use ::redb::{Database, ReadableDatabase as _, TableDefinition, TableHandle as _};
    let form = |disk: &Disk| {
        let database = Database::builder().create_with_backend(disk.clone()).unwrap();
        let reading = database.begin_read().unwrap();
        let mut tables: Vec<String> = reading.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
        tables.sort_unstable();
        let meta = reading.open_table(TableDefinition::<&str, &[u8]>::new("meta")).unwrap();
        let format = meta.get("format").unwrap().unwrap().value()[0];
        (tables.join(" "), format)
    };
    let disk = Disk::new(5);
    let mut storage = disk.load().unwrap().0;
    let messages = || vec![message(2, "a", b"1")];
    storage.commit(&Batch { head: stamp(2), messages: messages(), ..Batch::default() }).unwrap();
    storage.recover(Seq(2), &Batch { head: stamp(3), ..Batch::default() }).unwrap();
    drop(storage);
    assert_eq!(form(&disk), ("keys messages meta tokens topics".to_owned(), 1));
    let (mut storage, loaded) = disk.load().unwrap();
    assert_eq!((loaded.messages.len(), loaded.records.len()), (1, 0));
    let records = vec![RecordRow::Put("e".into(), record(4, &mut Random(1)))];
    storage.commit(&Batch { head: stamp(5), records, ..Batch::default() }).unwrap();
    storage.commit(&Batch { head: stamp(6), ..Batch::default() }).unwrap();
    drop(storage);
    assert_eq!(form(&disk), ("endpoints keys messages meta records tokens topics".to_owned(), 2));
    let mut storage = disk.load().unwrap().0;
    let notes = Notes { leaving: [("e".into(), Some(Seq(4)))].into_iter().collect(), ..Notes::default() };
    storage.commit(&Batch { head: stamp(7), notes, ..Batch::default() }).unwrap();
    drop(storage);
    assert_eq!(
        form(&disk),
        ("endpoints keys leaving messages meta records tokens topics".to_owned(), 2),
        "nobody else knows of it"
    );
    assert_eq!(disk.load().unwrap().1.records.len(), 1);
}

#[test]
fn a_full_disk_fails_commits_and_works_again_when_there_is_room() {
    let (disk, mut model) = filled(8, 3);
    let (mut storage, loaded) = disk.load().unwrap();
    let mut last = loaded.head.unwrap();
    disk.with(|state| state.capacity = state.file_length() + 200_000);
    let (mut random, mut seq) = (Random(4), 10_000);
    let lost = loop {
        let next = batch(&mut random, &model, &mut seq);
        match storage.commit(&next) {
            Ok(()) => model.apply(&next),
            Err(failure) => {
                assert!(!failure.0.is_empty());
                break next;
            }
        }
        last = next.head;
    };
    disk.with(|state| state.capacity = usize::MAX);
    let owed = Batch { head: lost.head, ..Batch::default() };
    storage.recover(last.seq, &owed).unwrap();
    model.apply(&owed);
    storage.commit(&Batch { head: stamp(seq + 1), ..Batch::default() }).unwrap();
    model.head = Some(stamp(seq + 1));
    drop(storage);
    assert_eq!(Model::of(&disk.load().unwrap().1), model);
}

fn directory(test: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("fanwire-{test}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn a_directory_is_made_and_found_again_and_one_process_has_it() {
    let path = directory("storage");
    let (mut storage, loaded) = Redb::open(&path).unwrap();
    assert_eq!(loaded.head, None);
    let (mut model, mut seq) = (Model::default(), 1);
    let next = batch(&mut Random(3), &model, &mut seq);
    storage.commit(&next).unwrap();
    model.apply(&next);
    let refused = Redb::open(&path).map(|_| ()).unwrap_err();
    assert!(matches!(refused.why, Why::InUse), "{refused}");
    assert_eq!(refused.file, path.join(Directory::FILE));
    drop(storage);
    let (storage, loaded) = Redb::open(&path).unwrap();
    assert_eq!(Model::of(&loaded), model);
    drop(storage);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(path.clone()), mode(path.join(Directory::FILE))), (0o700, 0o600), "nobody else reads messages");
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn files_of_others_are_refused_and_left_as_they_are() {
    let path = directory("foreign");
    std::fs::create_dir(&path).unwrap();
    let file = path.join(Directory::FILE);
    let foreign = path.join("foreign.redb");
    let database = ::redb::Database::create(&foreign).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(::redb::TableDefinition::<u64, u64>::new("numbers")).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let other = std::fs::read(&foreign).unwrap();
    for content in [b"SQLite format 3\0 and more".to_vec(), other] {
        std::fs::write(&file, &content).unwrap();
        let refused = Redb::open(&path).map(|_| ()).unwrap_err();
        assert!(matches!(refused.why, Why::Foreign), "{refused}");
        assert!(refused.to_string().starts_with(&file.display().to_string()) && refused.to_string().contains("move it away"));
        assert_eq!(std::fs::read(&file).unwrap(), content);
    }
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_crash_while_the_first_file_is_made_leaves_nothing_that_is_in_the_way() {
    let path = directory("new");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("fanwire.redb.new"), b"half").unwrap();
    let (storage, loaded) = Redb::open(&path).unwrap();
    assert_eq!(loaded.head, None);
    drop(storage);
    assert!(!path.join("fanwire.redb.new").exists());
    std::fs::remove_dir_all(path).unwrap();
}
