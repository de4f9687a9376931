//! What starting a kernel takes, apart from its argument.

/// A kernel and the blocks that it runs in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Launch {
    /// The kernel's name.
    pub(crate) kernel: &'static str,
    /// Blocks along three axes.
    pub(crate) grid: [u32; 3],
    /// Threads of a block.
    pub(crate) threads: u32,
    /// Bytes of shared memory that the kernel does not declare itself.
    pub(crate) shared_bytes: u32,
}

/// Threads of a block, in kernels that only pass over memory.
const THREADS: u32 = 256;

/// Bytes that a thread loads at once.
const PACK: usize = 16;

impl Launch {
    /// A block for each row and each run of its columns, `per_thread` of which a thread owns.
    pub(crate) fn columns(
        kernel: &'static str,
        num_rows: usize,
        num_columns: usize,
        per_thread: usize,
    ) -> Self {
        let blocks = num_columns.div_ceil(per_thread * THREADS as usize);
        Self {
            grid: [num_rows as u32, blocks as u32, 1],
            ..Self::rows(kernel, num_rows)
        }
    }

    /// `columns`, where a thread owns a pack of 16 bytes.
    pub(crate) fn packs(
        kernel: &'static str,
        num_rows: usize,
        num_columns: usize,
        element_bytes: usize,
    ) -> Self {
        Self::columns(kernel, num_rows, num_columns, PACK / element_bytes)
    }

    /// A block for each row.
    pub(crate) fn rows(kernel: &'static str, num_rows: usize) -> Self {
        Self {
            kernel,
            grid: [num_rows as u32, 1, 1],
            threads: THREADS,
            shared_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_column_and_no_row_decides_how() {
        // Columns, bytes of an element, blocks along a row.
        for (width, bytes, want) in [
            (0, 2, 0),
            (1, 2, 1),
            (2048, 2, 1),
            (2049, 2, 2),
            (4096, 4, 4),
            (14_336, 2, 7),
        ] {
            for num_rows in [0, 1, 7, 512] {
                let launch = Launch::packs("k", num_rows, width, bytes);
                assert_eq!(launch.grid, [num_rows as u32, want, 1], "{width} {bytes}");
                assert_eq!((launch.threads, launch.shared_bytes), (THREADS, 0));
            }
        }
        assert_eq!(Launch::columns("k", 3, 257, 1).grid, [3, 2, 1]);
        assert_eq!(Launch::rows("k", 3).grid, [3, 1, 1]);
    }
}
