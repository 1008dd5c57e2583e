//! Which dead letters are meant: by batch, event, URL, outcome and time. What is left out matches all.

use std::collections::BTreeSet;
use std::ops::Range;

use super::index::{Bits, Class, Index};
use super::{Views, rows};
use crate::domain::delivery::DeadLetter;
use crate::domain::id::{DeadLetterId, JobId};
use crate::domain::time::Timestamp;
use crate::domain::webhook::EventKind;
use crate::log::{LogError, Order};

/// A choice of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Of this job.
    pub job: Option<JobId>,
    /// Of this kind.
    pub kind: Option<EventKind>,
    /// To exactly this URL.
    pub url: Option<String>,
    /// Whether a retry has succeeded.
    pub resolved: Option<bool>,
    /// Given up at this time or later.
    pub since: Option<Timestamp>,
    /// Given up before this time.
    pub until: Option<Timestamp>,
}

impl LetterFilter {
    /// Whether it is a choice at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `letter` is meant.
    #[must_use]
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        self.job.as_ref().is_none_or(|id| *id == letter.job)
            && self.kind.is_none_or(|kind| kind == letter.kind)
            && self.url.as_ref().is_none_or(|url| *url == letter.url)
            && self.resolved.is_none_or(|resolved| resolved == letter.is_resolved())
            && self.since.is_none_or(|since| letter.created_at >= since)
            && self.until.is_none_or(|until| letter.created_at < until)
    }

    fn classes(&self) -> Vec<Class> {
        let kinds = EventKind::ALL.into_iter().filter(|kind| self.kind.is_none_or(|wanted| wanted == *kind));
        let class = |kind| match self.resolved {
            Some(resolved) => Class::letters(kind, resolved),
            None => Class::letters_of(kind),
        };
        kinds.map(class).collect()
    }
}

/// Blocks of dead letters' numbers.
type LetterBlocks<'a> = dyn Iterator<Item = Result<(u64, Bits), LogError>> + 'a;

/// A page of dead letters.
#[derive(Debug)]
pub struct LetterPage {
    /// The dead letters, newest first.
    pub letters: Vec<DeadLetter>,
    /// How many match in all.
    pub total: u64,
}

impl Views<'_> {
    /// The dead letters that `filter` means, newest first, without the first `offset` of them, at most `limit`.
    ///
    /// # Errors
    /// When a row can't be read.
    pub fn letter_page(&self, filter: &LetterFilter, offset: u64, limit: usize) -> Result<LetterPage, LogError> {
        // Without a filter all that there are are counted already, and the page's end is enough.
        let counted = if filter.is_empty() { Some(self.totals()?.dead_letters) } else { None };
        let (mut numbers, mut total) = (Vec::new(), 0);
        for block in self.letter_blocks(filter)? {
            let (block, bits) = block?;
            let count = bits.count();
            if total + count > offset && numbers.len() < limit {
                let skipped = usize::try_from(offset.saturating_sub(total)).unwrap_or(usize::MAX);
                let room = limit - numbers.len();
                numbers.extend(bits.numbers(block).skip(skipped).take(room));
            }
            total += count;
            if counted.is_some() && numbers.len() == limit {
                break;
            }
        }
        let total = counted.unwrap_or(total);
        let letters = numbers.into_iter().map(|number| self.dead_letter(DeadLetterId(number)));
        // One that was deleted since the index was read is not there any more.
        let letters = letters.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        Ok(LetterPage { letters, total })
    }

    /// The numbers of the dead letters that `filter` means, in blocks of at most 512, newest first.
    ///
    /// # Errors
    /// When a row can't be read.
    pub fn letter_numbers(
        &self,
        filter: &LetterFilter,
    ) -> Result<impl Iterator<Item = Result<Vec<DeadLetterId>, LogError>>, LogError> {
        let ids = |block: u64, bits: Bits| bits.numbers(block).map(DeadLetterId).collect();
        Ok(self.letter_blocks(filter)?.map(move |read| read.map(|(block, bits)| ids(block, bits))))
    }

    fn letter_blocks(&self, filter: &LetterFilter) -> Result<Box<LetterBlocks<'_>>, LogError> {
        if let Some(job) = &filter.job {
            return self.letters_of(job, filter).map(|blocks| Box::new(blocks.into_iter().map(Ok)) as _);
        }
        let range = self.letters_between(filter.since, filter.until)?;
        let (index, classes, end) = (Index(self.reader), filter.classes(), range.end);
        let within = move |(block, bits): (u64, Bits)| (block, bits.within(block, &range));
        let Some(url) = &filter.url else {
            return Ok(Box::new(index.blocks(classes, end).map(move |read| read.map(&within))));
        };
        // What goes to one URL is the smaller part.
        Ok(Box::new(index.blocks(vec![Class::letters_to(url)], end).map(move |read| {
            let (block, to_url) = read.map(&within)?;
            let mut bits = Bits::default();
            for class in &classes {
                bits = bits.or(index.block(class, block)?);
            }
            Ok((block, bits.and(to_url)))
        })))
    }

    /// A job's own are found by its deliveries, one after another.
    fn letters_of(&self, job: &JobId, filter: &LetterFilter) -> Result<Vec<(u64, Bits)>, LogError> {
        let Some(job) = self.job(job)? else { return Ok(Vec::new()) };
        let mut ids = BTreeSet::new();
        for delivery in self.deliveries_of(&job) {
            ids.extend(delivery?.dead_letter);
        }
        let mut blocks = Vec::new();
        for id in ids.into_iter().rev() {
            if self.dead_letter(id)?.is_some_and(|letter| filter.matches(&letter)) {
                blocks.push(Bits::only(id.0));
            }
        }
        Ok(blocks)
    }

    /// The numbers of the dead letters that were given up in a span of time. Numbers follow time, except while a clock
    /// was set back.
    fn letters_between(&self, since: Option<Timestamp>, until: Option<Timestamp>) -> Result<Range<u64>, LogError> {
        let end = self.totals()?.last_dead_letter + 1;
        let first = |time: Option<Timestamp>, open: u64| time.map_or(Ok(open), |time| self.first_letter(time, end));
        Ok(first(since, 0)?..first(until, end)?)
    }

    /// The smallest number of those that were given up at `time` or later; `end` when there is none.
    fn first_letter(&self, time: Timestamp, end: u64) -> Result<u64, LogError> {
        let (mut low, mut high) = (1, end);
        while low < high {
            let middle = low + (high - low) / 2;
            // The next that is still there stands for those that were deleted before it.
            let before = rows::dead_letter_key(DeadLetterId(middle - 1));
            let next = self.reader.rows(b"x", Order::Ascending, Some(&before), 1)?;
            let next = next.first().map(|(key, bytes)| super::read::<DeadLetter>(key, bytes)).transpose()?;
            match next {
                Some(letter) if letter.created_at < time => low = letter.id.0 + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }
}
