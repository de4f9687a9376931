//! The budget on a simulated clock: known costs, known acceptance, no model.
//!
//! A simulated drafter guesses each next token rightly with a known chance and claims what it likes; a simulated target
//! says the next token of a text that is known. So the best fixed budget in hindsight can be computed, and the policy
//! measured against it.

use std::time::Duration;

use foretoken_draft::{Accepted, DraftTree, accept};
use foretoken_model::{SeqId, Token};
use foretoken_server::engine::budget::{Budget, Candidate, Load, Prices, Step, Times};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const DRAFTER: &str = "simulated";

/// How good the drafter is, and how good it says it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Skill {
    /// Chance that a guess is right if those before it are.
    pub truth: f64,
    /// What the drafter claims of that chance.
    pub claim: f32,
}

impl Skill {
    /// Of a text that repeats what was said before: nearly every guess is right.
    pub const COPIES: Self = Self {
        truth: 0.95,
        claim: 0.95,
    };
    /// Of a text that only looks as if it did.
    pub const RANDOM: Self = Self {
        truth: 0.02,
        claim: 0.95,
    };

    /// Claims what is true.
    pub fn honest(truth: f64) -> Self {
        Self {
            truth,
            claim: truth as f32,
        }
    }
}

/// What a machine takes for what.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its forwards.
    pub costs: Prices,
    /// Seconds to draft for one sequence.
    pub draft_seconds: f64,
    /// Seconds that a forward takes more if drafts were made or verified in the step before it: the weights have left
    /// the cache. Prices do not tell.
    pub aftermath_seconds: f64,
}

/// Machines by name: a processor whose matrix units idle up to 16 rows, one where each row costs, a GPU that does not
/// feel 200 rows. Drafts cost next to nothing there.
pub fn machines() -> [(&'static str, Machine); 3] {
    let tiles = [(1, 4e-3), (16, 4.8e-3), (64, 9e-3)];
    let vectors = [(1, 1e-3), (8, 1.3e-3), (16, 2.3e-3), (64, 9e-3)];
    let gpu = [(1, 8e-3), (200, 8.6e-3), (800, 24e-3)];
    [
        ("tiles", Machine::new(Prices::new(&tiles, 2e-9, 2e-8))),
        ("vectors", Machine::new(Prices::new(&vectors, 2e-9, 2e-8))),
        ("gpu", Machine::new(Prices::new(&gpu, 1e-10, 1e-9))),
    ]
}

impl Machine {
    /// Forwards that cost so much; drafts cost little.
    pub fn new(costs: Prices) -> Self {
        Self {
            costs,
            draft_seconds: 5e-6,
            aftermath_seconds: 0.0,
        }
    }

    /// A processor whose cache holds the whole model: next to its forwards drafts are dear, and dearer than they look.
    pub fn cached() -> Self {
        let costs = [(1, 2.6e-4), (4, 4.2e-4), (16, 1e-3), (64, 4.2e-3)];
        Self {
            costs: Prices::new(&costs, 2e-9, 2e-8),
            draft_seconds: 3e-5,
            aftermath_seconds: 4e-5,
        }
    }
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct World {
    /// What everything really takes.
    pub machine: Machine,
    /// Sequences side by side, each with its skill.
    pub skills: Vec<Skill>,
    /// Keys of each sequence.
    pub context_len: usize,
    /// Longest draft.
    pub max_draft_tokens: usize,
}

impl World {
    /// Sequences that are all alike, of 500 tokens, on a machine.
    pub fn new(machine: Machine, num_seqs: usize, skill: Skill) -> Self {
        Self {
            machine,
            skills: vec![skill; num_seqs],
            context_len: 500,
            max_draft_tokens: 16,
        }
    }
}

/// How drafts are cut.
#[derive(Debug)]
pub enum Policy {
    /// Always so many draft tokens for each sequence.
    Fixed(usize),
    /// The server's own.
    Budget(Box<Budget>),
}

/// What steps brought.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Yield {
    /// Tokens that such drafts bring on average: luck is left out of the account.
    pub tokens: f64,
    /// Simulated seconds.
    pub seconds: f64,
    /// Draft tokens verified.
    pub drafted: usize,
}

impl Yield {
    /// Tokens per second.
    pub fn goodput(&self) -> f64 {
        self.tokens / self.seconds
    }
}

impl std::iter::Sum for Yield {
    fn sum<I: Iterator<Item = Self>>(yields: I) -> Self {
        yields.fold(Self::default(), |sum, next| Self {
            tokens: sum.tokens + next.tokens,
            seconds: sum.seconds + next.seconds,
            drafted: sum.drafted + next.drafted,
        })
    }
}

impl Policy {
    /// The server's policy with prices as measured at start.
    pub fn budget(prices: Prices) -> Self {
        Self::Budget(Box::new(Budget::new(prices)))
    }
}

/// A run of one policy in one world.
#[derive(Debug)]
pub struct Simulation {
    /// May be changed between steps.
    pub world: World,
    policy: Policy,
    random: StdRng,
    /// Tokens that each sequence has emitted.
    emitted: Vec<usize>,
    has_drafted: bool,
}

impl Simulation {
    /// A run from the beginning; the same seed gives the same luck.
    pub fn new(world: World, policy: Policy, seed: u64) -> Self {
        Self {
            emitted: vec![0; world.skills.len()],
            world,
            policy,
            random: StdRng::seed_from_u64(seed),
            has_drafted: false,
        }
    }

    /// Runs a number of steps.
    pub fn run(&mut self, num_steps: usize) -> Vec<Yield> {
        (0..num_steps).map(|_| self.step()).collect()
    }

    fn step(&mut self) -> Yield {
        let step = self.plan();
        let asked: Vec<usize> = match &mut self.policy {
            Policy::Fixed(num) => vec![*num; step.candidates.len()],
            Policy::Budget(budget) => (budget.ask(&step).iter())
                .map(|asked| asked.num_draft_tokens)
                .collect(),
        };
        let mut trees: Vec<DraftTree> = (0..asked.len())
            .map(|index| self.draft(index, asked[index]))
            .collect();
        if let Policy::Budget(budget) = &mut self.policy {
            budget.select(&step, &mut trees);
        }
        let num_asked = asked.iter().filter(|&&asked| asked > 0).count();
        let mut load = step.load;
        let mut total = Yield::default();
        for (tree, skill) in trees.iter().zip(&self.world.skills) {
            let depths = 0..=tree.num_draft_tokens() as i32;
            total.tokens += depths.map(|depth| skill.truth.powi(depth)).sum::<f64>();
            load.num_rows += tree.num_draft_tokens();
            load.num_row_keys += tree.num_draft_tokens() * self.world.context_len;
            total.drafted += tree.num_draft_tokens();
        }
        let machine = &self.world.machine;
        let draft = num_asked as f64 * machine.draft_seconds;
        let forward = machine.costs.price(load)
            + match self.has_drafted {
                true => machine.aftermath_seconds,
                false => 0.0,
            };
        self.has_drafted = num_asked > 0;
        total.seconds = draft + forward;
        let accepted: Vec<Accepted> = trees
            .iter()
            .enumerate()
            .map(|(index, tree)| {
                let first = self.emitted[index];
                accept(tree, |node| truth(index, first + tree.depth(node)))
            })
            .collect();
        for (emitted, accepted) in self.emitted.iter_mut().zip(&accepted) {
            *emitted += accepted.path.len();
        }
        if let Policy::Budget(budget) = &mut self.policy {
            let times = Times {
                draft: Duration::from_secs_f64(draft),
                forward: Duration::from_secs_f64(forward * self.random.random_range(0.95..1.05)),
                rest: Duration::ZERO,
            };
            budget.learn(&step, &trees, &accepted, times);
        }
        total
    }

    fn plan(&self) -> Step {
        let num_seqs = self.world.skills.len();
        let candidate = |index| Candidate {
            seq: SeqId(index as u64),
            drafter: Some(DRAFTER),
            is_greedy: false,
            is_first: false,
            context_len: self.world.context_len,
            min_draft_tokens: 0,
        };
        let num_keys = num_seqs * (self.world.context_len + 1);
        Step {
            candidates: (0..num_seqs).map(candidate).collect(),
            load: Load {
                num_rows: num_seqs,
                num_row_keys: num_keys,
                num_keys,
            },
            num_draft_rows: 4096,
        }
    }

    /// A chain of guesses, right up to the first that is not.
    fn draft(&mut self, index: usize, asked: usize) -> DraftTree {
        let Skill {
            truth: chance,
            claim,
        } = self.world.skills[index];
        let mut tree = DraftTree::new(0);
        let mut survival = 1.0;
        for depth in 0..asked.min(self.world.max_draft_tokens) {
            survival *= claim;
            let right = truth(index, self.emitted[index] + depth);
            let token = match self.random.random_bool(chance) {
                true => right,
                false => right + 1,
            };
            tree.push(depth, token, survival, DRAFTER);
        }
        tree
    }
}

/// The text that a sequence's target says.
fn truth(index: usize, position: usize) -> Token {
    (index * 7919 + position * 31) as Token % 1000
}

/// Goodput of the best fixed budget in a world, and of plain decoding.
pub fn in_hindsight(world: &World) -> (f64, f64) {
    let goodput = |num_drafts| {
        let mut simulation = Simulation::new(world.clone(), Policy::Fixed(num_drafts), 0);
        simulation.step();
        simulation.step().goodput()
    };
    let best = (0..=world.max_draft_tokens)
        .map(goodput)
        .fold(0.0, f64::max);
    (best, goodput(0))
}
