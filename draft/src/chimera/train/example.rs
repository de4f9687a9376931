//! What is computed together: texts, and where drafting begins in them.

use std::ops::Range;

use foretoken_model::Token;

/// Rows of some texts, one text after another, and the anchors among them.
#[derive(Clone, Debug, Default)]
pub struct Example {
    tokens: Vec<Token>,
    texts: Vec<Range<usize>>,
    anchors: Vec<Anchor>,
}

/// A place where drafting begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anchor {
    /// The last computed row; the root's token is the next row's.
    pub row: usize,
    /// The first row of its text.
    pub start: usize,
}

impl Example {
    /// Adds a text whose anchors are the rows of `window`, counted from its beginning.
    pub fn push(&mut self, text: &[Token], window: Range<usize>) {
        let start = self.tokens.len();
        self.anchors.extend(window.map(|row| Anchor {
            row: start + row,
            start,
        }));
        self.tokens.extend_from_slice(text);
        self.texts.push(start..self.tokens.len());
    }

    /// Tokens by row.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Rows of each text.
    pub fn texts(&self) -> &[Range<usize>] {
        &self.texts
    }

    /// Where drafting begins.
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// Positions by row.
    pub fn positions(&self) -> impl Iterator<Item = u32> {
        self.texts.iter().flat_map(|text| 0..text.len() as u32)
    }

    /// What steps read that follow the text, the root first. `[anchors, steps]`
    pub fn branches(&self, num_steps: usize) -> Vec<Token> {
        let branch = |anchor: &Anchor| &self.tokens[anchor.row + 1..][..num_steps];
        self.anchors.iter().flat_map(branch).copied().collect()
    }

    /// The three tokens that each row of the branches reads, oldest first. `[anchors, steps]`
    ///
    /// Before a text's first token stands that token.
    pub fn trigrams(&self, branches: &[Token], num_steps: usize) -> [Vec<Token>; 3] {
        let mut trigrams = [(); 3].map(|()| Vec::with_capacity(branches.len()));
        for (anchor, branch) in self.anchors.iter().zip(branches.chunks_exact(num_steps)) {
            for step in 0..num_steps {
                for (back, tokens) in trigrams.iter_mut().rev().enumerate() {
                    tokens.push(match step.checked_sub(back) {
                        Some(step) => branch[step],
                        None => {
                            let before = back - step - 1;
                            self.tokens[anchor.row.saturating_sub(before).max(anchor.start)]
                        }
                    });
                }
            }
        }
        trigrams
    }

    /// Positions of the branches' rows. `[anchors, steps]`
    pub fn branch_positions(&self, num_steps: usize) -> Vec<u32> {
        let positions = |anchor: &Anchor| {
            let first = (anchor.row - anchor.start + 1) as u32;
            first..first + num_steps as u32
        };
        self.anchors.iter().flat_map(positions).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_goes_on_where_its_text_is_known() {
        let mut example = Example::default();
        example.push(&[7, 7, 7], 0..0);
        example.push(&[10, 11, 12, 13, 14], 0..2);
        assert_eq!(example.branches(2), [11, 12, 12, 13]);
        let [first, second, third] = example.trigrams(&[11, 90, 12, 91], 2);
        assert_eq!(first, [10, 10, 10, 11]);
        assert_eq!(second, [10, 11, 11, 12]);
        assert_eq!(third, [11, 90, 12, 91]);
        assert_eq!(example.branch_positions(2), [1, 2, 2, 3]);
        assert_eq!(
            Vec::from_iter(example.positions()),
            [0, 1, 2, 0, 1, 2, 3, 4]
        );
    }
}
