//! What the sources of a tree claimed, and what came.

use foretoken_model::Token;

use super::trust::Class;
use crate::mixture::Mixture;
use crate::ranking::Successor;
use crate::tree::{DraftTree, Node};

/// The latest tree of a sequence, and what was claimed for it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The tree, and the tokens that were committed before it.
    proposed: Option<(DraftTree, usize)>,
    claims: Vec<Claim>,
}

/// A source's word on what follows a node.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Claim {
    node: Node,
    class: Class,
    /// Its likeliest token.
    token: Token,
    /// Of the source, in what the sources before it left.
    weight: f32,
    /// The weight's part that is the token's.
    own: f32,
    /// The token's chance by the source and those behind it, whose part that is.
    said: f32,
    /// The token's chance in the mixture by the sources before, and what these left.
    before: f32,
    share: f32,
}

impl Claims {
    /// Judges the claims for the last tree, along the path that the text took through it: `learn` is told how much of what
    /// came is owed to whom. `tokens` is the whole text.
    pub(super) fn judge(&mut self, tokens: &[Token], mut learn: impl FnMut(Class, f32)) {
        if let Some((tree, num_tokens)) = self.proposed.take() {
            let mut node = DraftTree::ROOT;
            for &came in tokens.get(num_tokens..).unwrap_or_default() {
                for claim in self.claims.iter().filter(|claim| claim.node == node) {
                    learn(claim.class, claim.owed(came));
                }
                match tree.child(node, came) {
                    Some(child) => node = child,
                    None => break,
                }
            }
        }
        self.claims.clear();
    }

    /// Adds what a source says of a node to the mixture, with a weight, and remembers it.
    pub(super) fn add(
        &mut self,
        mixture: &mut Mixture,
        node: Node,
        (class, weight): (Class, f32),
        guesses: &[Successor],
    ) {
        let Some(best) = guesses.iter().max_by(|a, b| a.chance.total_cmp(&b.chance)) else {
            return;
        };
        self.claims.push(Claim {
            node,
            class,
            token: best.token,
            weight,
            own: weight * best.chance,
            said: 0.0,
            before: mixture.chance(best.token),
            share: mixture.rest(),
        });
        let weighted = guesses
            .iter()
            .map(|guess| (guess.token, weight * guess.chance));
        mixture.add(best.source, weighted);
    }

    /// Notes what all sources together say of a node, when all have been added.
    pub(super) fn compare(&mut self, mixture: &Mixture, node: Node) {
        for claim in self
            .claims
            .iter_mut()
            .rev()
            .take_while(|claim| claim.node == node)
        {
            claim.said = (mixture.chance(claim.token) - claim.before) / claim.share;
        }
    }

    /// Keeps the tree that the claims are for, drafted after so many committed tokens.
    pub(super) fn keep(&mut self, tree: &DraftTree, num_tokens: usize) {
        self.proposed = Some((tree.clone(), num_tokens));
    }
}

impl Claim {
    /// How much of what came is owed to the source: the chance that it was drawn by this one of those that are mixed, as
    /// far as the token or another one came. Where all say the same, that tells little.
    ///
    /// Weights that follow it make what came likeliest (expectation maximisation; Jelinek and Mercer, "Interpolated
    /// estimation of Markov source parameters from sparse data", 1980).
    fn owed(&self, came: Token) -> f32 {
        let (own, all) = match came == self.token {
            true => (self.own, self.said),
            false => (self.weight - self.own, 1.0 - self.said),
        };
        own / all.max(own).max(f32::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auto::trust::Kind;

    /// A mixture of two sources and a rest, claimed at the root: .5 for 7; then of the other half .4 * (.75 for 7, .25
    /// for 8); then 1 for `last`.
    fn claims(last: Token) -> Claims {
        let (mut claims, mut mixture) = (Claims::default(), Mixture::default());
        let successor = |(token, chance)| Successor::new(token, chance, "test");
        for (kind, weight, guesses) in [
            (Kind::Text, 0.5, vec![(7, 1.0)]),
            (Kind::Corpus, 0.4, vec![(8, 0.25), (7, 0.75)]),
        ] {
            let guesses: Vec<_> = guesses.into_iter().map(successor).collect();
            let class = Class::new(kind, 3);
            claims.add(&mut mixture, DraftTree::ROOT, (class, weight), &guesses);
        }
        mixture.add("test", [(last, 1.0)].into_iter());
        claims.compare(&mixture, DraftTree::ROOT);
        claims
    }

    /// What is owed to either source.
    fn judged(mut claims: Claims, tokens: &[Token]) -> Vec<f32> {
        let mut owed = Vec::new();
        claims.judge(tokens, |_, part| owed.push(part));
        assert!(
            claims.claims.is_empty() && claims.proposed.is_none(),
            "judged once"
        );
        owed
    }

    #[test]
    fn what_came_is_owed_to_those_who_said_it() {
        let cases = [
            // All say 7, but for a part of the second.
            (7, 7, [0.5 / 0.95, 0.3 / 0.9]),
            // The rest says 9.
            (9, 7, [0.5 / 0.65, 1.0]),
            (9, 9, [0.0, 0.1 / 0.7]),
            // The second said something else, too, with a quarter of its weight.
            (7, 8, [0.0, 1.0]),
        ];
        for (last, came, want) in cases {
            let mut claims = claims(last);
            claims.keep(&DraftTree::new(1), 1);
            let got = judged(claims, &[1, came]);
            let close = |(got, want): (&f32, &f32)| (got - want).abs() < 1e-4;
            assert!(
                got.len() == 2 && got.iter().zip(&want).all(close),
                "{last}, {came}: {got:?}"
            );
        }
    }

    #[test]
    fn claims_are_judged_along_the_path() {
        let mut tree = DraftTree::new(1);
        tree.push(0, 7, 0.5, "test");
        tree.push(1, 8, 0.5, "test");
        for (tokens, want) in [
            (&[1, 7, 8, 3][..], 3),
            (&[1, 7, 9, 8], 2),
            (&[1, 8, 8], 1),
            (&[1], 0),
            (&[], 0),
        ] {
            let mut claims = Claims::default();
            for node in 0..3 {
                let guess = Successor::new(7, 1.0, "test");
                let class = (Class::new(Kind::Text, 3), 0.5);
                claims.add(&mut Mixture::default(), node, class, &[guess]);
            }
            claims.keep(&tree, 1);
            assert_eq!(judged(claims, tokens).len(), want, "{tokens:?}");
        }
        let mut claims = claims(7);
        claims.judge(&[1, 7], |_, _| panic!("there was no tree"));
    }
}
