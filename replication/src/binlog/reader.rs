// SPDX-License-Identifier: Apache-2.0
//! Reads the items of one file and checks everything that the format says twice.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use super::block::{BLOCK_SIZE, HEADER_SIZE, Header, Kind, room};
use super::directory::file_path;
use super::record::{Content, Fields, ITEM_HEADER_SIZE, Item};
use crate::BinlogOffset;
use crate::error::{Error, Fault, Result};

/// Reads one file of a log, item by item, up to an end that somebody else vouches for.
///
/// The bytes behind that end are never looked at: Pika allots files ahead, and what is there may be zeros, half of an
/// item, or left over from before a crash. Whole items are slices of the block they were read with; only items of
/// several fragments are copied.
#[derive(Debug)]
pub struct Reader {
    file: File,
    path: PathBuf,
    number: u32,
    position: u64,
    end: u64,
    sealed: bool,
    sequence: Sequence,
    block: Block,
}

impl Reader {
    /// A reader of log file `from.file` in `dir`, from that position on. There is nothing to read yet: say how far with
    /// [`Reader::extend_to`] or [`Reader::seal`].
    ///
    /// # Errors
    /// [`Error::Purged`] when the file is gone, [`Error::Beyond`] when it is shorter than that, [`Error::Io`] when it
    /// cannot be opened.
    pub fn open(dir: &Path, from: BinlogOffset) -> Result<Self> {
        let sequence = Sequence { logic_id: None, previous: Previous::starting_at(from) };
        Self::open_in_sequence(dir, from, sequence)
    }

    /// The reader of the next file, which checks that the items go on there without a gap.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_next(&self, dir: &Path) -> Result<Self> {
        let number = self.number.saturating_add(1);
        let previous = Previous::File { number, end: Some(self.sequence.previous.end_in(self.number)) };
        Self::open_in_sequence(dir, BinlogOffset::new(number, 0), Sequence { previous, ..self.sequence })
    }

    /// Allows to read up to `end`, the end of an item in this file. It never moves back.
    pub fn extend_to(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Takes the file as complete, because the log goes on in another: everything in it may be read now. Zeros behind
    /// the last item are no error, for a server that is killed and then begins a new file leaves them there. An item
    /// that it was about to log when it was killed may be given as well; then the first item of the next file tells.
    ///
    /// # Errors
    /// [`Error::Io`] when the length of the file cannot be told.
    pub fn seal(&mut self) -> Result<()> {
        self.end = length(&self.file, &self.path)?;
        self.sealed = true;
        Ok(())
    }

    /// Whether [`Reader::seal`] was called: when there is no next item now, there never will be.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Where the next item starts.
    pub fn position(&self) -> BinlogOffset {
        BinlogOffset::new(self.number, self.position)
    }

    /// The next item, or `None` at the end. After an error the same call gives the same error again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for anything that Pika cannot have written, [`Error::Io`] when reading fails.
    #[expect(clippy::should_implement_trait, reason = "None may be followed by further items")]
    pub fn next(&mut self) -> Result<Option<Item>> {
        let Some((payload, end)) = self.join()? else {
            return Ok(None);
        };
        let item = self.decode(payload, end).map_err(|fault| self.corrupt(self.position, fault))?;
        self.position = end;
        self.sequence = Sequence { logic_id: Some(item.logic_id), previous: Previous::Item(item.end) };
        Ok(Some(item))
    }

    fn open_in_sequence(dir: &Path, from: BinlogOffset, sequence: Sequence) -> Result<Self> {
        let path = file_path(dir, from.file);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::Purged { path }),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let end = BinlogOffset::new(from.file, length(&file, &path)?);
        if from > end {
            return Err(Error::Beyond { dir: dir.to_owned(), position: from, end });
        }
        let BinlogOffset { file: number, position } = from;
        Ok(Self { file, path, number, position, end: position, sealed: false, sequence, block: Block::default() })
    }

    /// The bytes of the next item, joined, and the position behind it.
    fn join(&mut self) -> Result<Option<(Bytes, u64)>> {
        let mut at = self.position;
        let mut joined: Option<BytesMut> = None;
        while at < self.end {
            let Some((header, payload)) = self.fragment(&mut at)? else {
                break;
            };
            match (header.kind, &mut joined) {
                (Kind::Full, None) => return Ok(Some((payload, at))),
                (Kind::First, None) => joined = Some(self.begin(&payload)),
                (Kind::Middle, Some(joined)) => joined.extend_from_slice(&payload),
                (Kind::Last, Some(whole)) => {
                    whole.extend_from_slice(&payload);
                    return Ok(joined.map(|whole| (whole.freeze(), at)));
                }
                (Kind::Filler, None) => self.pass_filler(&payload, at)?,
                (Kind::Middle | Kind::Last, None) => return Err(self.corrupt(self.position, Fault::Orphan)),
                (Kind::Full | Kind::First | Kind::Filler, Some(_)) => {
                    return Err(self.corrupt(self.position, Fault::Interrupted));
                }
            }
        }
        match joined {
            None => Ok(None),
            Some(_) => Err(self.corrupt(self.position, Fault::Torn)),
        }
    }

    /// The fragment at `at`, which moves behind it; `None` when only zeros follow in a sealed file.
    fn fragment(&mut self, at: &mut u64) -> Result<Option<(Header, Bytes)>> {
        let left = room(*at);
        if left < HEADER_SIZE {
            let behind = (*at + left as u64).min(self.end);
            let zeros = self.bytes(*at, behind)?;
            if zeros.iter().any(|&byte| byte != 0) {
                return Err(self.corrupt(*at, Fault::Zeros));
            }
            *at = behind;
            if *at == self.end {
                return self.no_fragment(*at);
            }
        }
        let left = room(*at);
        let payload = *at + HEADER_SIZE as u64;
        if payload > self.end {
            return self.no_fragment(*at);
        }
        let bytes = self.bytes(*at, payload)?;
        let bytes = bytes[..].try_into().expect("eight bytes were asked for");
        if bytes == [0; HEADER_SIZE] {
            return self.no_fragment(*at);
        }
        let header = Header::decode(bytes, left).map_err(|fault| self.corrupt(*at, fault))?;
        let behind = payload + header.length as u64;
        if behind > self.end {
            return Err(self.corrupt(*at, Fault::Torn));
        }
        let payload = self.bytes(payload, behind)?;
        *at = behind;
        Ok(Some((header, payload)))
    }

    /// Tells the zeros behind the last item of a sealed file from damage.
    fn no_fragment(&mut self, at: u64) -> Result<Option<(Header, Bytes)>> {
        let mut from = at;
        while from < self.end {
            let behind = (from + room(from) as u64).min(self.end);
            if self.bytes(from, behind)?.iter().any(|&byte| byte != 0) {
                let torn = self.end - at < HEADER_SIZE as u64;
                return Err(self.corrupt(at, if torn { Fault::Torn } else { Fault::Zeros }));
            }
            from = behind;
        }
        match self.sealed {
            true => Ok(None),
            false => Err(self.corrupt(at, Fault::Zeros)),
        }
    }

    /// The bytes `from..behind`, which lie in one block.
    fn bytes(&mut self, from: u64, behind: u64) -> Result<Bytes> {
        if let Some(bytes) = self.block.slice(from, behind) {
            return Ok(bytes);
        }
        let end = (from + room(from) as u64).min(self.end);
        let length = usize::try_from(end - from).expect("at most a block");
        let mut bytes = vec![0; length];
        match self.file.read_exact_at(&mut bytes, from) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.corrupt(from, Fault::Torn)),
            Err(error) => return Err(Error::io("read", &self.path)(error)),
        }
        self.block = Block { start: from, bytes: bytes.into() };
        Ok(self.block.slice(from, behind).expect("read up to the block's end or the log's"))
    }

    /// A buffer for an item that begins with this fragment. Its claimed length is a hint, not a promise.
    fn begin(&self, payload: &[u8]) -> BytesMut {
        let claimed = payload.get(ITEM_HEADER_SIZE - 4..).and_then(|bytes| bytes.first_chunk());
        let claimed = claimed.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes))) + ITEM_HEADER_SIZE as u64;
        let capacity = claimed.min(self.end - self.position);
        let mut joined = BytesMut::with_capacity(usize::try_from(capacity).unwrap_or(BLOCK_SIZE));
        joined.extend_from_slice(payload);
        joined
    }

    fn pass_filler(&mut self, payload: &[u8], behind: u64) -> Result<()> {
        if payload.iter().any(|&byte| byte != b'*') {
            return Err(self.corrupt(self.position, Fault::Filler));
        }
        self.position = behind;
        self.sequence.previous = Previous::Item(self.position());
        Ok(())
    }

    fn decode(&self, payload: Bytes, end: u64) -> Result<Item, Fault> {
        let (fields, content) = Fields::decode(payload)?;
        self.sequence.check(&fields)?;
        Ok(Item {
            start: self.position(),
            end: BinlogOffset::new(self.number, end),
            time: fields.time,
            term: fields.term,
            logic_id: fields.logic_id,
            header: fields.header,
            content: Content::decode(content)?,
        })
    }

    fn corrupt(&self, offset: u64, fault: Fault) -> Error {
        Error::Corrupt { path: self.path.clone(), offset, fault }
    }
}

fn length(file: &File, path: &Path) -> Result<u64> {
    Ok(file.metadata().map_err(Error::io("look at", path))?.len())
}

/// Some bytes of the file, none of them behind the end of a block.
#[derive(Debug, Default)]
struct Block {
    start: u64,
    bytes: Bytes,
}

impl Block {
    fn slice(&self, from: u64, behind: u64) -> Option<Bytes> {
        let from = usize::try_from(from.checked_sub(self.start)?).ok()?;
        let behind = usize::try_from(behind.checked_sub(self.start)?).ok()?;
        (behind <= self.bytes.len()).then(|| self.bytes.slice(from..behind))
    }
}

/// What the next item must say about the one before.
#[derive(Clone, Copy, Debug)]
struct Sequence {
    logic_id: Option<u64>,
    previous: Previous,
}

/// Where the item before the next one ended.
#[derive(Clone, Copy, Debug)]
enum Previous {
    /// In this very file.
    Item(BinlogOffset),
    /// In the file before `number`, at `end` if that is known. A server that was restarted right after it began the
    /// new file names the start of that one instead.
    File { number: u32, end: Option<BinlogOffset> },
}

impl Sequence {
    fn check(&self, fields: &Fields) -> Result<(), Fault> {
        let placed = match self.previous {
            Previous::Item(end) => fields.header == end,
            Previous::File { number, .. } if fields.header == BinlogOffset::new(number, 0) => true,
            Previous::File { end: Some(end), .. } => fields.header == end,
            Previous::File { number, end: None } => fields.header.file.checked_add(1) == Some(number),
        };
        if !placed {
            return Err(Fault::Misplaced { found: fields.header });
        }
        match self.logic_id {
            Some(previous) if previous.checked_add(1) != Some(fields.logic_id) => {
                Err(Fault::LogicId { previous, found: fields.logic_id })
            }
            _ => Ok(()),
        }
    }
}

impl Previous {
    fn starting_at(from: BinlogOffset) -> Self {
        match from.position {
            0 => Self::File { number: from.file, end: None },
            _ => Self::Item(from),
        }
    }

    /// The end of file `number`, in which it was the last to be seen.
    fn end_in(self, number: u32) -> BinlogOffset {
        match self {
            Self::Item(end) => end,
            Self::File { .. } => BinlogOffset::new(number, 0),
        }
    }
}
