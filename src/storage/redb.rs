//! One redb file: a transaction per batch, checked whole before anything of it is believed.

use crate::exchange::{Revocation, TokenDigest};
use crate::message::{Seq, Stamp, TopicName};
use crate::storage::cautious::Cautious;
use crate::storage::record::{self, Reader, Writer};
use crate::storage::{Batch, Failure, Loaded, RecordRow, Storage, TokenChange, Unusable, Why};
use ::redb::{
    Database, DatabaseError, Durability, Error, ReadableDatabase, ReadableTable, StorageBackend, StorageError, TableDefinition,
    TableError, TableHandle, TransactionError, WriteTransaction,
};
use hashbrown::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const MESSAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("messages");
const KEYS: TableDefinition<u64, &[u8]> = TableDefinition::new("keys");
const TOPICS: TableDefinition<&str, &[u8]> = TableDefinition::new("topics");
const TOKENS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("tokens");
const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
/// Those that have records although they are not configured any more.
const ENDPOINTS: TableDefinition<&str, &[u8]> = TableDefinition::new("endpoints");
/// Up to which place the records of an endpoint are on their way out.
const LEAVING: TableDefinition<&str, &[u8]> = TableDefinition::new("leaving");

/// The rows of `META`: what wrote the file; the number of the newest batch and the newest stamp; two stamps; a version; 1 while
/// somebody delivers before the commit; a `Seq`.
const FORMAT: &str = "format";
const HEAD: &str = "head";
const BEGINS: &str = "begins";
const REMOVED: &str = "removed";
const FORGOTTEN: &str = "forgotten";
const AHEAD: &str = "ahead";
const RENEWED: &str = "renewed";

/// The form of all rows.
const OUR_FORMAT: u64 = 2;
/// The form before there were records, which a file has until it is given some.
const WITHOUT_RECORDS: u64 = 1;

/// The file begins with this, whatever is in it.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// What redb keeps in memory of its file: only the trees' upper parts are used again and again.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Where the file is. Beside it the number of the newest batch that was answered is noted, without a sync: a file that does not
/// know it is older than it was.
pub trait Medium: Send {
    type Backend: StorageBackend;

    /// # Errors
    /// Whatever the system says.
    fn open(&self) -> io::Result<Self::Backend>;

    /// # Errors
    /// Whatever the system says.
    fn note(&self, number: u64) -> io::Result<()>;

    /// `None`: nothing was noted, or it can't be read.
    fn noted(&self) -> Option<u64>;
}

/// A directory that holds the file.
pub struct Directory {
    path: PathBuf,
    note: File,
}

impl Directory {
    pub const FILE: &str = "fanwire.redb";
    const NEW: &str = "fanwire.redb.new";
    const NOTE: &str = "fanwire.newest";

    /// Makes what is missing of the directory and its files.
    fn prepare(path: &Path) -> Result<Directory, Why> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Why::System(error)),
            _ => {}
        }
        let file = path.join(Directory::FILE);
        if !file.try_exists().map_err(Why::System)? {
            // Under another name until it is whole: a crash must not leave something that looks damaged.
            let new = path.join(Directory::NEW);
            remove(&new)?;
            create(::redb::backends::FileBackend::new(open(&new, true).map_err(Why::System)?)?)?;
            match std::fs::hard_link(&new, &file) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Why::System(error)),
                _ => {}
            }
            remove(&new)?;
            File::open(path).and_then(|directory| directory.sync_all()).map_err(Why::System)?;
        }
        let note = open(&path.join(Directory::NOTE), true).map_err(Why::System)?;
        Ok(Directory { path: path.to_owned(), note })
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(path)
}

fn remove(path: &Path) -> Result<(), Why> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Why::System(error)),
        _ => Ok(()),
    }
}

impl Medium for Directory {
    type Backend = ::redb::backends::FileBackend;

    fn open(&self) -> io::Result<Self::Backend> {
        let file = open(&self.path.join(Directory::FILE), false)?;
        ::redb::backends::FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))
    }

    fn note(&self, number: u64) -> io::Result<()> {
        let mut out = Vec::new();
        self.note.write_all_at(Writer::new(&mut out).number(number).seal(b"newest"), 0)
    }

    fn noted(&self) -> Option<u64> {
        let mut value = [0; 12];
        self.note.read_exact_at(&mut value, 0).ok()?;
        Reader::open(b"newest", &value)?.number()
    }
}

/// The file, open.
pub struct Redb<M> {
    medium: M,
    /// `None` after a failure.
    database: Option<Database>,
    /// Of the newest batch that is committed.
    number: u64,
}

impl Redb<Directory> {
    /// Opens what is in this directory, or begins anew there.
    ///
    /// # Errors
    /// The file is damaged, somebody else's, in use or out of reach. It is as it was then.
    pub fn open(path: &Path) -> Result<(Redb<Directory>, Loaded), Unusable> {
        let unusable = |why| Unusable { file: path.join(Directory::FILE), why };
        Redb::load(Directory::prepare(path).map_err(unusable)?).map_err(unusable)
    }
}

impl<M: Medium> Redb<M> {
    /// Opens a file that exists, and reads all of it.
    ///
    /// # Errors
    /// As [`Redb::open`].
    pub fn load(medium: M) -> Result<(Redb<M>, Loaded), Why> {
        let (database, (number, loaded)) = open_checked(&medium, 0, |database, number| Ok((number, read(database)?)))?;
        Ok((Redb { medium, database: Some(database), number }, loaded))
    }

    fn apply(&mut self, batch: &Batch, after: Option<Seq>) -> Result<(), Failure> {
        let number = self.number + 1;
        let database = self.database.as_ref().ok_or_else(|| Failure("it is closed after a failure".into()))?;
        let result = catch_unwind(AssertUnwindSafe(|| write(database, batch, number, after)))
            .unwrap_or_else(|_| Err(Error::Corrupted("redb panicked".into())));
        // What can't be noted must not be answered either.
        let result = result.map_err(|error| Failure(error.to_string()));
        let result = result.and_then(|()| self.medium.note(number).map_err(|error| Failure(error.to_string())));
        match result {
            Ok(()) => self.number = number,
            Err(_) => self.close(),
        }
        result
    }

    fn close(&mut self) {
        let database = self.database.take();
        // Whatever happens to a database that failed: it is opened anew.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

impl<M: Medium> Storage for Redb<M> {
    fn commit(&mut self, batch: &Batch) -> Result<(), Failure> {
        self.apply(batch, None)
    }

    fn recover(&mut self, last: Seq, batch: &Batch) -> Result<(), Failure> {
        self.close();
        let opened = open_checked(&self.medium, self.number, |_, number| Ok(number));
        let (database, number) = opened.map_err(|why| Failure(format!("{why:?}")))?;
        (self.database, self.number) = (Some(database), number);
        self.apply(batch, Some(last))
    }
}

/// Makes an empty file of ours.
///
/// # Errors
/// Whatever redb says.
pub fn create(backend: impl StorageBackend) -> Result<(), Why> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
    Ok(write(&database, &Batch::default(), 0, None)?)
}

/// Opens a file and looks at it; nothing of it is changed unless it is in order and not older than `number`.
fn open_checked<M: Medium, T>(
    medium: &M,
    number: u64,
    look: impl FnOnce(&Database, u64) -> Result<T, Why>,
) -> Result<(Database, T), Why> {
    let backend = medium.open().map_err(Why::System)?;
    let mut magic = [0; MAGIC.len()];
    let length = backend.len().map_err(Why::System)?;
    if length < MAGIC.len() as u64 {
        return Err(Why::Damaged("it is too short".into()));
    }
    backend.read(0, &mut magic).map_err(Why::System)?;
    if magic != MAGIC {
        return Err(Why::Foreign);
    }
    let (cautious, trust) = Cautious::new(backend);
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let database = builder.create_with_backend(cautious)?;
        let found = identify(&database)?;
        let least = number.max(medium.noted().unwrap_or(0));
        if found < least {
            return Err(Why::Damaged(format!("it ends with batch {found}, but batch {least} was committed")));
        }
        let looked = look(&database, found)?;
        Ok((database, looked))
    }));
    let opened = opened.unwrap_or_else(|_| Err(Why::Damaged("redb does not understand it".into())))?;
    trust.give().map_err(Why::System)?;
    Ok(opened)
}

/// The number of the newest batch, if the file is ours.
fn identify(database: &Database) -> Result<u64, Why> {
    let transaction = database.begin_read()?;
    if !transaction.list_tables()?.any(|table| table.name() == META.name()) {
        return Err(Why::Foreign);
    }
    let meta = transaction.open_table(META)?;
    let Some(format) = meta.get(FORMAT)? else { return Err(Why::Foreign) };
    let format = Reader::open(FORMAT.as_bytes(), format.value()).and_then(|mut format| format.number());
    match format {
        Some(OUR_FORMAT | WITHOUT_RECORDS) => {}
        Some(other) => return Err(Why::Newer(format!("format {other}"))),
        None => return Err(unreadable(FORMAT)),
    }
    Ok(read_head(&meta)?.0)
}

fn read_head(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<(u64, Stamp), Why> {
    let value = meta.get(HEAD)?.ok_or_else(|| unreadable(HEAD))?;
    let head = Reader::open(HEAD.as_bytes(), value.value()).and_then(|mut head| Some((head.number()?, head.stamp()?)));
    head.ok_or_else(|| unreadable(HEAD))
}

fn read_stamp(meta: &impl ReadableTable<&'static str, &'static [u8]>, name: &'static str) -> Result<Option<Stamp>, Why> {
    let Some(value) = meta.get(name)? else { return Ok(None) };
    let stamp = Reader::open(name.as_bytes(), value.value()).and_then(|mut value| value.stamp());
    stamp.map(Some).ok_or_else(|| unreadable(name))
}

/// 0 if there is none.
fn read_number(meta: &impl ReadableTable<&'static str, &'static [u8]>, name: &'static str) -> Result<u64, Why> {
    let Some(value) = meta.get(name)? else { return Ok(0) };
    let number = Reader::open(name.as_bytes(), value.value()).and_then(|mut value| value.number());
    number.ok_or_else(|| unreadable(name))
}

fn read(database: &Database) -> Result<Loaded, Why> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let (number, head) = read_head(&meta)?;
    let mut loaded = Loaded {
        head: (number > 0).then_some(head),
        begins: read_stamp(&meta, BEGINS)?,
        removed: read_stamp(&meta, REMOVED)?.unwrap_or_default(),
        forgotten: read_number(&meta, FORGOTTEN)?,
        ahead: read_number(&meta, AHEAD)? > 0,
        renewed: Seq(read_number(&meta, RENEWED)?),
        ..Loaded::default()
    };
    let mut names = HashSet::new();
    for entry in transaction.open_table(MESSAGES)?.iter()? {
        let (seq, value) = entry?;
        let seq = Seq(seq.value());
        let stored = record::read_message(seq, value.value(), &mut names).filter(|stored| stored.message.stamp <= head);
        loaded.messages.push(stored.ok_or_else(|| unreadable(&format!("message {}", seq.0)))?);
    }
    for entry in transaction.open_table(KEYS)?.iter()? {
        let (seq, value) = entry?;
        let seq = Seq(seq.value());
        loaded.keys.push(record::read_key(seq, value.value()).ok_or_else(|| unreadable(&format!("key {}", seq.0)))?);
    }
    for entry in transaction.open_table(TOPICS)?.iter()? {
        let (name, value) = entry?;
        let remains = record::read_remains(name.value(), value.value()).ok_or_else(|| unreadable("a topic"))?;
        loaded.topics.push((TopicName::from(name.value()), remains));
    }
    for entry in transaction.open_table(TOKENS)?.iter()? {
        let (token, value) = entry?;
        let token = TokenDigest(*token.value());
        loaded.tokens.push((token, record::read_token(token, value.value()).ok_or_else(|| unreadable("a token"))?));
    }
    // Tables that only files with records have.
    let tables: Vec<String> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    let has = |name: &str| tables.iter().any(|table| table == name);
    if has(RECORDS.name()) {
        for entry in transaction.open_table(RECORDS)?.iter()? {
            let (place, value) = entry?;
            let place = Seq(place.value());
            let found = record::read_record(place, value.value(), &mut names).filter(|_| place <= head.seq);
            loaded.records.push(found.ok_or_else(|| unreadable(&format!("record {}", place.0)))?);
        }
    }
    if has(ENDPOINTS.name()) {
        for entry in transaction.open_table(ENDPOINTS)?.iter()? {
            let (name, value) = entry?;
            let removed = record::read_removed(name.value(), value.value()).ok_or_else(|| unreadable("an endpoint"))?;
            loaded.endpoints.push((TopicName::from(name.value()), removed));
        }
    }
    if has(LEAVING.name()) {
        for entry in transaction.open_table(LEAVING)?.iter()? {
            let (name, value) = entry?;
            let through = record::read_leaving(name.value(), value.value()).ok_or_else(|| unreadable("an endpoint"))?;
            loaded.leaving.push((TopicName::from(name.value()), through));
        }
    }
    Ok(loaded)
}

fn write(database: &Database, batch: &Batch, number: u64, after: Option<Seq>) -> Result<(), Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // What the file's header points to was synced before it did: pages that a failed sync has lost are never part of it.
    // Quick repair would save what every opening finds out anew.
    transaction.set_two_phase_commit(true);
    fill(&transaction, batch, number, after)?;
    transaction.commit()?;
    Ok(())
}

fn fill(transaction: &WriteTransaction, batch: &Batch, number: u64, after: Option<Seq>) -> Result<(), Error> {
    let mut out = Vec::new();
    let mut messages = transaction.open_table(MESSAGES)?;
    let mut keys = transaction.open_table(KEYS)?;
    if let Some(Seq(after)) = after {
        messages.retain_in(after + 1.., |_, _| false)?;
        keys.retain_in(after + 1.., |_, _| false)?;
    }
    for stored in batch.notes.again.iter().chain(&batch.messages) {
        messages.insert(stored.message.stamp.seq.0, record::write_message(stored, &mut out))?;
    }
    for seq in batch.deleted.iter().chain(&batch.notes.evicted) {
        messages.remove(seq.0)?;
    }
    for known in &batch.keys {
        keys.insert(known.stamp.seq.0, record::write_key(known, &mut out))?;
    }
    if batch.notes.keys_until > Seq(0) {
        keys.retain_in(..=batch.notes.keys_until.0, |_, _| false)?;
    }
    let mut topics = transaction.open_table(TOPICS)?;
    for name in &batch.ended {
        topics.remove(name.as_str())?;
    }
    for (name, remains) in &batch.notes.topics {
        match remains {
            Some(remains) => topics.insert(name.as_str(), record::write_remains(name, remains, &mut out))?,
            None => topics.remove(name.as_str())?,
        };
    }
    let mut tokens = transaction.open_table(TOKENS)?;
    for change in batch.notes.tokens.iter().chain(&batch.tokens) {
        match change {
            TokenChange::Issue(token, grant) => drop(tokens.insert(&token.0, record::write_token(*token, grant, &mut out))?),
            TokenChange::Revoke(Revocation::Token(token)) => drop(tokens.remove(&token.0)?),
            TokenChange::Revoke(revocation @ Revocation::User { .. }) => tokens.retain(|token, value| {
                let token = TokenDigest(*token);
                !revocation.covers(token, |group, user| {
                    record::read_token(token, value).is_some_and(|grant| (&*grant.group, &*grant.user) == (group, user))
                })
            })?,
        }
    }
    for token in &batch.notes.expired {
        tokens.remove(&token.0)?;
    }
    let mut meta = transaction.open_table(META)?;
    let format = fill_records(transaction, batch, after)?;
    if number == 0 || format > WITHOUT_RECORDS {
        meta.insert(FORMAT, Writer::new(&mut out).number(format).seal(FORMAT.as_bytes()))?;
    }
    meta.insert(HEAD, Writer::new(&mut out).number(number).stamp(batch.head).seal(HEAD.as_bytes()))?;
    if let Some(begins) = batch.notes.begins {
        meta.insert(BEGINS, Writer::new(&mut out).stamp(begins).seal(BEGINS.as_bytes()))?;
    }
    if batch.notes.removed > read_stamp(&meta, REMOVED).ok().flatten().unwrap_or_default() {
        meta.insert(REMOVED, Writer::new(&mut out).stamp(batch.notes.removed).seal(REMOVED.as_bytes()))?;
    }
    for (name, number) in [(FORGOTTEN, batch.notes.forgotten), (RENEWED, batch.notes.renewed.0)] {
        if number > read_number(&meta, name).unwrap_or(0) {
            meta.insert(name, Writer::new(&mut out).number(number).seal(name.as_bytes()))?;
        }
    }
    if let Some(ahead) = batch.notes.ahead {
        meta.insert(AHEAD, Writer::new(&mut out).number(ahead.into()).seal(AHEAD.as_bytes()))?;
    }
    Ok(())
}

/// Returns the format that the file needs for this batch.
fn fill_records(transaction: &WriteTransaction, batch: &Batch, after: Option<Seq>) -> Result<u64, Error> {
    let notes = &batch.notes;
    let rows = batch.records.len() + notes.records.len() + notes.gone.len() + notes.endpoints.len() + notes.leaving.len();
    if rows == 0 && (after.is_none() || !transaction.list_tables()?.any(|table| table.name() == RECORDS.name())) {
        return Ok(WITHOUT_RECORDS);
    }
    let mut out = Vec::new();
    let mut records = transaction.open_table(RECORDS)?;
    if let Some(Seq(after)) = after {
        records.retain_in(after + 1.., |_, _| false)?;
    }
    for row in notes.records.iter().chain(&batch.records) {
        match row {
            RecordRow::Put(endpoint, record) => {
                drop(records.insert(record.place.0, record::write_record(endpoint, record, &mut out))?);
            }
            RecordRow::Delete(place) => drop(records.remove(place.0)?),
        }
    }
    for place in &notes.gone {
        records.remove(place.0)?;
    }
    let mut endpoints = transaction.open_table(ENDPOINTS)?;
    for (endpoint, removed) in &notes.endpoints {
        match removed {
            Some(removed) => endpoints.insert(endpoint.as_str(), record::write_removed(endpoint, removed, &mut out))?,
            None => endpoints.remove(endpoint.as_str())?,
        };
    }
    if !notes.leaving.is_empty() {
        let mut leaving = transaction.open_table(LEAVING)?;
        for (endpoint, through) in &notes.leaving {
            match through {
                Some(through) => leaving.insert(endpoint.as_str(), record::write_leaving(endpoint, *through, &mut out))?,
                None => leaving.remove(endpoint.as_str())?,
            };
        }
    }
    Ok(OUR_FORMAT)
}

fn unreadable(what: &str) -> Why {
    Why::Damaged(format!("{what} can't be read"))
}

impl From<Error> for Why {
    fn from(error: Error) -> Why {
        match error {
            Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => Why::InUse,
            Error::Io(error) => match error.kind() {
                // It ends too early.
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Why::Damaged(error.to_string()),
                _ => Why::System(error),
            },
            other => Why::Damaged(other.to_string()),
        }
    }
}

impl From<DatabaseError> for Why {
    fn from(error: DatabaseError) -> Why {
        Error::from(error).into()
    }
}

impl From<StorageError> for Why {
    fn from(error: StorageError) -> Why {
        Error::from(error).into()
    }
}

impl From<TableError> for Why {
    fn from(error: TableError) -> Why {
        Error::from(error).into()
    }
}

impl From<TransactionError> for Why {
    fn from(error: TransactionError) -> Why {
        Error::from(error).into()
    }
}
