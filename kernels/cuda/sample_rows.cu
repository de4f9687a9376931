// sample_rows: the next token of each row: argmax(logit / T + noise) over the tokens that min-p, top-k and top-p leave; the
// twin of src/sampling/rows.rs.
//
//   logits  [rows, vocab], float32    tokens  [rows]
//
// A block owns a row, a thread every 1,024th group of four tokens, which share one turn of the noise's generator. The row
// is read a few times: for the best token; for the k-th, whose place is found digit by digit; for the winner among
// all that may come; and to see whether the winner belongs to the top p: if not, no token from it on does, and the draw is
// repeated among those before it. Chances are added up as whole numbers, so no order of threads changes a sum.
//
// Bound by the row's bytes, from the second-level cache after the first reading, at one multiprocessor's speed; and by
// the noise of the tokens that could win.
#include <sampling.cuh>

namespace {

constexpr int THREADS = 1024;
constexpr int WARPS = THREADS / 32;
// Bits of a place that one reading of the row tells, and the places that part what they may be.
constexpr int DIGIT = 3;
constexpr int CUTS = (1 << DIGIT) - 1;

// How a row's token is drawn.
struct Row {
    uint64_t position;
    uint32_t key[2];
    float temperature;  // 0: the best token
    float ln_min_p;     // minus infinity: off
    uint32_t top_k;     // 0: off
    float top_p;        // 1: off
};

struct Args {
    const float* logits;
    const Row* rows;
    uint32_t* tokens;
    int64_t stride;
    uint32_t vocab;
    uint32_t unused;
};

// What one request's history adds to a token's logit. Neutral where it does not ask: 0, 1, 0 and 0.
struct Change {
    uint32_t row;
    uint32_t token;
    float bias;
    float repetition;
    float frequency;
    float presence;
};

struct ChangeArgs {
    float* logits;
    const Change* changes;
    int64_t stride;
    uint32_t num_changes;
    uint32_t unused;
};

// The value that `op` makes of all threads' values, to all of them.
template <typename Op>
__device__ uint64_t over_block(uint64_t value, Op op) {
    __shared__ uint64_t by_warp[WARPS];
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        value = op(value, device::exchange_xor(value, lanes));
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        by_warp[threadIdx.x / 32] = value;
    }
    __syncthreads();
    value = by_warp[0];
    for (int warp = 1; warp < WARPS; ++warp) {
        value = op(value, by_warp[warp]);
    }
    return value;
}

__device__ Place first_of_block(Place own) {
    return over_block(own, [](Place a, Place b) { return a < b ? a : b; });
}

__device__ uint64_t sum_over_block(uint64_t own) {
    return over_block(own, [](uint64_t a, uint64_t b) { return a + b; });
}

struct Sampler {
    const float* logits;
    const uint32_t vocab;
    const Row row;
    // What stands before the best token's logit, then its score; and the score that a token must have.
    Place best;
    float best_score;
    float floor;

    __device__ Sampler(const Args& args)
        : logits(args.logits + blockIdx.x * args.stride), vocab(args.vocab), row(args.rows[blockIdx.x]) {}

    __device__ uint32_t sample() {
        best = find_best();
        if (row.temperature == 0.0f) {
            return token_of(best);
        }
        best_score = __fdiv_rn(score_of(best), row.temperature);
        floor = __fadd_rn(best_score, row.ln_min_p);
        // Places from `end` on are out.
        Place end = row.top_k == 0 ? LAST : behind_top_k();
        const bool takes_all = row.top_p >= 1.0f;
        const uint64_t enough = takes_all ? 0 : enough_mass(end);
        for (;;) {
            const uint32_t winner = draw(end);
            if (takes_all) {
                return winner;
            }
            const float score = __fdiv_rn(logits[winner], row.temperature);
            // What is no number has no place, and a winner that does not move the end is the last to be had.
            const Place at = place(score, winner);
            if (!(at < end) || mass_before(at) < enough) {
                return winner;
            }
            end = at;
        }
    }

    // Hands out the thread's tokens with their logits.
    template <typename Body>
    __device__ void for_each(Body body) const {
        for (uint32_t first = 4 * threadIdx.x; first < vocab; first += 4 * THREADS) {
            for (uint32_t token = first; token < min(first + 4, vocab); ++token) {
                body(token, logits[token]);
            }
        }
    }

    // Hands out those of a score from the floor on, with their places.
    template <typename Body>
    __device__ void for_each_candidate(Body body) const {
        for_each([&](uint32_t token, float logit) {
            const float score = __fdiv_rn(logit, row.temperature);
            if (score >= floor) {
                body(score, place(score, token));
            }
        });
    }

    // The best logit's place; that of token 0 at minus infinity where no logit is above it.
    __device__ Place find_best() const {
        Place first = place(-INFINITY, 0);
        for_each([&](uint32_t token, float logit) {
            if (logit > -INFINITY) {
                first = min(first, place(logit, token));
            }
        });
        return first_of_block(first);
    }

    // A place behind the first k, and before all others.
    __device__ Place behind_top_k() const {
        uint64_t num_candidates = 0;
        for_each_candidate([&](float, Place) { ++num_candidates; });
        if (sum_over_block(num_candidates) <= row.top_k) {
            return LAST;
        }
        // At most k stand before `low`; the next digit of the place that it grows to is at `shift`.
        Place low = 0;
        for (int shift = 64 - DIGIT; shift > -DIGIT; shift -= DIGIT) {
            const int at_shift = max(shift, 0);
            uint32_t counts[CUTS] = {};
            for_each_candidate([&](float, Place at) {
                const Place digit = at < low ? 0 : at - low >> at_shift;
                for (int i = 0; i < CUTS; ++i) {
                    counts[i] += digit <= i;
                }
            });
            Place next = low;
            for (int i = 0; i < CUTS; ++i) {
                const uint64_t count = sum_over_block(counts[i]);
                const Place cut = low + (static_cast<Place>(i + 1) << at_shift);
                if (count == row.top_k) {
                    return cut;
                }
                if (count > row.top_k) {
                    break;
                }
                next = cut;
            }
            low = next;
        }
        return low;
    }

    // exp(score - best) in units of 2^-40.
    __device__ uint64_t mass(float score) const {
        const float chance = exponential(__fsub_rn(score, best_score));
        return static_cast<uint64_t>(__fmul_rn(chance, 1099511627776.0f));
    }

    __device__ uint64_t mass_before(Place end) const {
        uint64_t sum = 0;
        for_each_candidate([&](float score, Place at) { sum += at < end ? mass(score) : 0; });
        return sum_over_block(sum);
    }

    // The least mass that reaches p of what stands before `end`.
    __device__ uint64_t enough_mass(Place end) const {
        const double share = __dmul_rn(static_cast<double>(row.top_p), __ull2double_rn(mass_before(end)));
        const uint64_t whole = static_cast<uint64_t>(share);
        return max(whole + (static_cast<double>(whole) < share), static_cast<uint64_t>(1));
    }

    __device__ Bits noise_bits(uint32_t group) const {
        return philox(group, 0, static_cast<uint32_t>(row.position), static_cast<uint32_t>(row.position >> 32),
                      row.key[0], row.key[1]);
    }

    // What a token's score and the bound of its noise have to reach, if this is to be beaten.
    __device__ static float reached_by(float perturbed) {
        perturbed = fminf(perturbed, 3.4028235e38f);
        return perturbed - (0.01f + fabsf(perturbed) * 1e-6f);
    }

    // The token that wins among those before `end`; the best token if none can.
    __device__ uint32_t draw(Place end) const {
        const uint32_t favourite = token_of(best);
        float needed = reached_by(best_score + gumbel(noise_bits(favourite / 4).lanes[favourite % 4]));
        if (!(place(best_score, favourite) < end)) {
            needed = -INFINITY;
        }
        Place winner = place(-INFINITY, favourite);
        for (uint32_t first = 4 * threadIdx.x; first < vocab; first += 4 * THREADS) {
            float scores[4];
            bool any = false;
            for (uint32_t i = 0; i < 4; ++i) {
                const uint32_t token = first + i;
                const float score = token < vocab ? __fdiv_rn(logits[token], row.temperature) : -INFINITY;
                const bool may_come = score >= floor && score > -INFINITY && place(score, token) < end;
                scores[i] = may_come ? score : -INFINITY;
                any |= may_come && score + MOST_NOISE >= needed;
            }
            if (!any) {
                continue;
            }
            const Bits bits = noise_bits(first / 4);
            for (uint32_t i = 0; i < 4; ++i) {
                if (scores[i] + MOST_NOISE >= needed && scores[i] > -INFINITY) {
                    const float perturbed = __fadd_rn(scores[i], gumbel(bits.lanes[i]));
                    winner = min(winner, place(perturbed, first + i));
                    needed = fmaxf(needed, reached_by(perturbed));
                }
            }
        }
        return token_of(first_of_block(winner));
    }
};

}  // namespace

// Grid: rows.
KERNEL(sample_rows, Args, THREADS, 1) {
    Sampler sampler(args);
    const uint32_t token = sampler.sample();
    if (threadIdx.x == 0) {
        args.tokens[blockIdx.x] = token;
    }
}

// Adds biases and penalties to logits, in place. A thread owns a change; no two are of one row and token.
KERNEL(change_logits, ChangeArgs, 256, 4) {
    const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= args.num_changes) {
        return;
    }
    const Change& change = args.changes[index];
    float& logit = args.logits[change.row * args.stride + change.token];
    float changed = __fadd_rn(logit, change.bias);
    changed = changed > 0.0f ? __fdiv_rn(changed, change.repetition) : __fmul_rn(changed, change.repetition);
    changed = __fsub_rn(changed, change.frequency);
    logit = __fsub_rn(changed, change.presence);
}
