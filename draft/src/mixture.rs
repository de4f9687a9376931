//! One distribution out of several, the better informed before the others.

use foretoken_model::Token;

use crate::ranking::Successor;

/// A rest too small to be shared out.
const NEGLIGIBLE: f32 = 0.02;

/// What may follow, by a drafter's own reckoning: no token twice, in no order, each with a chance; those of all other
/// tokens together are the rest.
#[derive(Debug)]
pub(crate) struct Mixture {
    successors: Vec<Successor>,
    /// What the chances leave of 1.
    rest: f32,
    /// The place of each token among the successors, where that place holds it: a sparse set (Briggs and Torczon),
    /// which need not be cleared.
    places: Vec<u32>,
}

impl Default for Mixture {
    fn default() -> Self {
        Self {
            successors: Vec::new(),
            rest: 1.0,
            places: Vec::new(),
        }
    }
}

impl Mixture {
    /// Forgets all chances.
    pub(crate) fn clear(&mut self) {
        self.successors.clear();
        self.rest = 1.0;
    }

    /// Adds the distribution of a source: it gets its part of the rest.
    pub(crate) fn add(
        &mut self,
        source: &'static str,
        distribution: impl Iterator<Item = (Token, f32)>,
    ) {
        let share = self.rest;
        for (token, chance) in distribution {
            let chance = share * chance;
            self.rest -= chance;
            self.raise(Successor::new(token, chance, source));
        }
    }

    /// Multiplies the chances of some tokens, which all others pay for.
    pub(crate) fn favour(&mut self, factor: f32, is_favoured: impl Fn(Token) -> bool) {
        let mut whole = self.rest;
        for successor in &mut self.successors {
            if is_favoured(successor.token) {
                successor.chance *= factor;
            }
            whole += successor.chance;
        }
        for successor in &mut self.successors {
            successor.chance /= whole;
        }
        self.rest /= whole;
    }

    /// The chance of a token.
    pub(crate) fn chance(&self, token: Token) -> f32 {
        let place = self.places.get(token as usize).copied().unwrap_or_default();
        match self.successors.get(place as usize) {
            Some(successor) if successor.token == token => successor.chance,
            _ => 0.0,
        }
    }

    /// What the chances leave of 1.
    pub(crate) fn rest(&self) -> f32 {
        self.rest
    }

    /// True if another distribution would change next to nothing.
    pub(crate) fn is_complete(&self) -> bool {
        self.rest < NEGLIGIBLE
    }

    /// The tokens and their chances; they may be reordered.
    pub(crate) fn successors(&mut self) -> &mut Vec<Successor> {
        &mut self.successors
    }

    /// A token that is here already stays its first source's.
    fn raise(&mut self, raised: Successor) {
        let index = raised.token as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, 0);
        }
        match self.successors.get_mut(self.places[index] as usize) {
            Some(successor) if successor.token == raised.token => {
                successor.chance += raised.chance;
            }
            _ => {
                self.places[index] = self.successors.len() as u32;
                self.successors.push(raised);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distribution_takes_its_part_of_the_rest_and_no_token_stands_twice() {
        let mut mixture = Mixture::default();
        for _ in 0..2 {
            mixture.clear();
            mixture.add("test", [(7, 0.5), (3, 0.25)].into_iter());
            mixture.add("test", [(3, 0.5)].into_iter());
            let got = mixture.successors();
            let want =
                [(7, 0.5), (3, 0.375)].map(|(token, chance)| Successor::new(token, chance, "test"));
            assert_eq!(got[..], want);
            assert_eq!((mixture.rest(), mixture.is_complete()), (0.125, false));
            assert_eq!(
                [3, 7, 1, 99].map(|token| mixture.chance(token)),
                [0.375, 0.5, 0.0, 0.0]
            );
            mixture.favour(3.0, |token| token == 7);
            let got: Vec<f32> = mixture.successors().iter().map(|got| got.chance).collect();
            assert_eq!((got, mixture.rest()), (vec![0.75, 0.1875], 0.0625));
            mixture.add("test", [(1, 0.9)].into_iter());
            assert!(mixture.is_complete());
        }
    }
}
