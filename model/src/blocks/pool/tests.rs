//! Sequences that share blocks read what they would have computed themselves, and every block is somewhere.

use proptest::prelude::*;

use super::*;

const BLOCK_SIZE: usize = 4;
const NUM_BLOCKS: usize = 12;

/// What a slot holds: the salt, and all tokens up to its own.
type Row = (Option<Arc<str>>, Vec<Token>);

/// A pool, its cache's content, and sequences that run in it.
struct World {
    pool: BlockPool,
    slots: Vec<Row>,
    sequences: [Sequence; 4],
}

#[derive(Default)]
struct Sequence {
    tokens: Vec<Token>,
    salt: Option<Arc<str>>,
    table: BlockTable,
    num_computed: usize,
}

impl Sequence {
    fn row(&self, position: usize) -> Row {
        (self.salt.clone(), self.tokens[..=position].to_vec())
    }
}

impl World {
    fn new() -> Self {
        Self {
            pool: BlockPool::new(NUM_BLOCKS, BLOCK_SIZE),
            slots: vec![Row::default(); NUM_BLOCKS * BLOCK_SIZE],
            sequences: Default::default(),
        }
    }

    /// Begins a sequence anew, or goes on with a preempted one if it is to have the same tokens.
    fn start(&mut self, which: usize, tokens: Vec<Token>, salt: Option<Arc<str>>) -> usize {
        let sequence = &mut self.sequences[which];
        self.pool.release(&mut sequence.table);
        let table = &mut sequence.table;
        let num_computed = self.pool.adopt(table, &tokens, salt.as_ref());
        assert!(num_computed < tokens.len().max(1), "one token is left");
        *sequence = Sequence {
            tokens,
            salt,
            table: std::mem::take(table),
            num_computed,
        };
        num_computed
    }

    /// Computes and commits some tokens, beside a draft that is rejected, if the blocks suffice.
    fn compute(&mut self, which: usize, num_tokens: usize) -> bool {
        let sequence = &mut self.sequences[which];
        let end = (sequence.num_computed + num_tokens).min(sequence.tokens.len());
        if !self.pool.grow(&mut sequence.table, end + 3) {
            return false;
        }
        for position in sequence.num_computed..end + 3 {
            let row = match position < end {
                true => sequence.row(position),
                false => (None, vec![999]),
            };
            self.slots[sequence.table.physical(position, BLOCK_SIZE) as usize] = row;
        }
        sequence.num_computed = end;
        let computed = &sequence.tokens[..end];
        let salt = sequence.salt.as_ref();
        self.pool.publish(&mut sequence.table, computed, salt);
        true
    }

    fn leave(&mut self, which: usize) {
        self.pool.release(&mut self.sequences[which].table);
        self.sequences[which].num_computed = 0;
    }

    /// Every sequence reads what it would have written, and every block is somewhere.
    fn check(&self) {
        for sequence in &self.sequences {
            for position in 0..sequence.num_computed {
                let slot = sequence.table.physical(position, BLOCK_SIZE) as usize;
                assert_eq!(self.slots[slot], sequence.row(position));
            }
        }
        let pool = &self.pool;
        let tables = self.sequences.iter().map(|sequence| &sequence.table);
        let private = tables.flat_map(|table| &table.blocks[table.num_cached..]);
        let mut owned: Vec<BlockId> = private.chain(&pool.free).copied().collect();
        assert_eq!(owned.len(), pool.num_private() + pool.num_free());
        let is_cached = |block: &BlockId| !owned.contains(block);
        let cached: Vec<BlockId> = (0..NUM_BLOCKS as BlockId).filter(is_cached).collect();
        assert_eq!(cached.len(), pool.num_cached());
        owned.extend(cached);
        owned.sort_unstable();
        assert_eq!(owned, (0..NUM_BLOCKS as BlockId).collect::<Vec<_>>());
    }
}

#[derive(Clone, Debug)]
enum Action {
    Start(Vec<Token>, Option<&'static str>),
    Compute(usize),
    Leave,
}

fn action() -> impl Strategy<Value = Action> {
    // Few tokens and few lengths: prefixes are often shared.
    let tokens = prop::collection::vec(0..2 as Token, 0..4).prop_map(|blocks| {
        let block = |token| (0..BLOCK_SIZE as Token).map(move |i| i % 2 * token);
        blocks.into_iter().flat_map(block).chain([7]).collect()
    });
    let salt = prop::option::of(prop::sample::select(vec!["a", "b"]));
    prop_oneof![
        2 => (tokens, salt).prop_map(|(tokens, salt)| Action::Start(tokens, salt)),
        4 => (1usize..20).prop_map(Action::Compute),
        1 => Just(Action::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whoever_shares_a_block_reads_what_it_would_have_written(
        actions in prop::collection::vec((0usize..4, action()), 0..60),
    ) {
        let mut world = World::new();
        for (which, action) in actions {
            match action {
                Action::Start(tokens, salt) => _ = world.start(which, tokens, salt.map(Arc::from)),
                Action::Compute(num_tokens) => {
                    let before = (world.pool.num_available(), world.pool.num_private());
                    if !world.compute(which, num_tokens) {
                        prop_assert_eq!((world.pool.num_available(), world.pool.num_private()), before);
                        world.leave(which);
                    }
                }
                Action::Leave => world.leave(which),
            }
            world.check();
        }
        (0..4).for_each(|which| world.leave(which));
        world.check();
        prop_assert_eq!((world.pool.num_available(), world.pool.num_private()), (NUM_BLOCKS, 0));
    }
}

#[test]
fn a_prefix_is_found_up_to_the_last_token_but_one() {
    let text: Vec<Token> = (0..13).collect();
    let other: Vec<Token> = [&text[..6], &[99; 7]].concat();
    let salt = || Some(Arc::from("salt"));
    let cases = [
        (&text[..], None, 12),
        (&text[..12], None, 8),
        (&text[..8], None, 4),
        (&text[..4], None, 0),
        (&text[..0], None, 0),
        (&other[..], None, 4),
        (&text[1..], None, 0),
        (&text[4..], None, 0),
        (&text[..], salt(), 0),
    ];
    for (tokens, salt, num_cached) in cases {
        let mut world = World::new();
        world.start(0, text.clone(), None);
        assert!(world.compute(0, 13));
        let case = format!("{tokens:?} {salt:?}");
        assert_eq!(
            world.start(1, tokens.to_vec(), salt.clone()),
            num_cached,
            "{case}, while its owner runs"
        );
        world.leave(0);
        world.leave(1);
        assert_eq!(
            world.start(1, tokens.to_vec(), salt),
            num_cached,
            "{case}, afterwards"
        );
    }
}

#[test]
fn of_two_that_compute_the_same_one_block_stays() {
    let mut world = World::new();
    let text: Vec<Token> = (0..9).collect();
    for which in [0, 1] {
        world.start(which, text.clone(), None);
    }
    for which in [0, 1] {
        assert!(world.compute(which, 9));
        world.check();
    }
    let [a, b, ..] = &world.sequences;
    assert_eq!(a.table.blocks[..2], b.table.blocks[..2]);
    assert_ne!(a.table.blocks[2], b.table.blocks[2]);
    assert_eq!(world.pool.num_cached(), 2);
}

#[test]
fn what_was_left_first_goes_first_and_nothing_in_use_goes() {
    let mut world = World::new();
    let texts: [Vec<Token>; 3] = [1, 2, 3].map(|text| vec![text; 9]);
    for (which, text) in texts.iter().enumerate() {
        world.start(which, text.clone(), None);
        assert!(world.compute(which, 9));
    }
    world.leave(1);
    world.leave(0);
    // Of 12 blocks, 3 are the third's, and 2 each the others'. Of 7 more, two come out of the second's cache.
    world.start(3, vec![4; 25], None);
    assert!(world.compute(3, 25));
    assert_eq!(world.pool.num_free(), 0);
    world.check();
    assert_eq!(world.start(1, texts[1].clone(), None), 0);
    assert_eq!(world.start(0, texts[0].clone(), None), 8);
    assert!(!world.compute(1, 9), "all others are in use");
}
