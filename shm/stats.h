/* Counters and histograms that live in the segment, one block for the worker and one for each lane,
 * so they outlive their process and Prometheus sees monotonic series. A block has one writer;
 * adding is one relaxed load and store, no lock prefix. Readers merge at scrape.
 *
 * The tables below are the only list: enum, /metrics, shm_inspect and docs/metrics.md come from it.
 */
#ifndef WEIR_SHM_STATS_H
#define WEIR_SHM_STATS_H

#include "shm/segment.h"

/* X(identifier, Prometheus family, label text or "", help). Families stay contiguous.
 * requests_total = sum of responses_total, once nothing is in flight: `lost` are those of a
 * frontend that died, counted by its successor. */
#define STATS_COUNTERS(X)                                                                        \
    X(REQUESTS, "weir_requests_total", "", "HTTP requests received.")                            \
    X(RESPONSES_OK, "weir_responses_total", "code=\"2xx\"", "Answers by outcome.")               \
    X(RESPONSES_MALFORMED, "weir_responses_total", "code=\"400\"", "Answers by outcome.")        \
    X(RESPONSES_UNAUTHORIZED, "weir_responses_total", "code=\"401\"", "Answers by outcome.")     \
    X(RESPONSES_NO_ROUTE, "weir_responses_total", "code=\"404\"", "Answers by outcome.")         \
    X(RESPONSES_NO_METHOD, "weir_responses_total", "code=\"405\"", "Answers by outcome.")        \
    X(RESPONSES_SLOW_CLIENT, "weir_responses_total", "code=\"408\"", "Answers by outcome.")      \
    X(RESPONSES_TOO_LARGE, "weir_responses_total", "code=\"413\"", "Answers by outcome.")        \
    X(RESPONSES_MEDIA_TYPE, "weir_responses_total", "code=\"415\"", "Answers by outcome.")       \
    X(RESPONSES_INVALID, "weir_responses_total", "code=\"422\"", "Answers by outcome.")          \
    X(RESPONSES_OVERLOADED, "weir_responses_total", "code=\"429\"", "Answers by outcome.")       \
    X(RESPONSES_CLIENT_GONE, "weir_responses_total", "code=\"499\"", "Answers by outcome.")      \
    X(RESPONSES_FAILED, "weir_responses_total", "code=\"500\"", "Answers by outcome.")           \
    X(RESPONSES_UNAVAILABLE, "weir_responses_total", "code=\"503\"", "Answers by outcome.")      \
    X(RESPONSES_DEADLINE, "weir_responses_total", "code=\"504\"", "Answers by outcome.")         \
    X(RESPONSES_LOST, "weir_responses_total", "code=\"lost\"", "Answers by outcome.")            \
    X(TEXTS, "weir_texts_total", "", "Texts submitted to the worker.")                           \
    X(TOKENS, "weir_tokens_total", "", "Tokens submitted to the worker, special ones included.") \
    X(TEXTS_TRUNCATED, "weir_texts_truncated_total", "", "Texts cut to the model's length.")     \
    X(LANE_RESCUES, "weir_lane_rescues_total", "", "Slots found by a scan, not by a ring.")      \
    X(LANE_RESYNCS, "weir_lane_resyncs_total", "", "Ring ends out of bounds, set right.")        \
    X(LANE_BAD_ENTRIES, "weir_lane_bad_entries_total", "", "Ring entries that name no slot.")    \
    X(LANE_LATE_RESULTS, "weir_lane_late_results_total", "", "Results whose slot was not ours.") \
    X(BELL_WAKES, "weir_bell_wakes_total", "", "System calls made to wake a sleeping process.")  \
    X(BATCHES, "weir_batches_total", "", "Batches run by the worker.")                           \
    X(BATCH_TEXTS, "weir_batch_texts_total", "", "Texts run by the worker.")                     \
    X(BATCH_TOKENS, "weir_batch_tokens_total", "", "Tokens run by the worker.")                  \
    X(TEXTS_EXPIRED, "weir_texts_expired_total", "", "Texts dropped after their deadline.")      \
    X(TEXTS_REPLAYED, "weir_texts_replayed_total", "", "Texts run again after a worker died.")   \
    X(TEXTS_POISONED, "weir_texts_poisoned_total", "", "Texts given up: workers died of them.")  \
    X(TEXTS_BAD, "weir_texts_bad_total", "", "Slots whose contents the worker refused.")         \
    X(CANARIES, "weir_canaries_total", "", "Canary batches run while idle.")                     \
    X(WORKER_STARTS, "weir_worker_starts_total", "", "Workers that opened the segment.")

/* X(identifier, Prometheus family, unit, help); unit "seconds" records nanoseconds, else plain. */
#define STATS_HISTOGRAMS(X)                                                                      \
    X(PARSE, "weir_parse_seconds", "seconds", "Reading the request's body.")                     \
    X(TOKENIZE, "weir_tokenize_seconds", "seconds", "Tokenizing all texts of a request.")        \
    X(QUEUE, "weir_queue_seconds", "seconds", "A text's wait in its lane.")                      \
    X(ENCODE, "weir_encode_seconds", "seconds", "A text's time in a batch.")                     \
    X(TOTAL, "weir_request_seconds", "seconds", "From request read to answer handed to libh2o.") \
    X(TEXT_TOKENS, "weir_text_tokens", "tokens", "Tokens of a text.")                            \
    X(BATCH_SIZE_TEXTS, "weir_batch_size_texts", "texts", "Texts of a batch.")                   \
    X(BATCH_SIZE_TOKENS, "weir_batch_size_tokens", "tokens", "Tokens of a batch.")

#define STATS_ENUM_COUNTER(identifier, family, labels, help) STATS_##identifier,
#define STATS_ENUM_HISTOGRAM(identifier, family, unit, help) STATS_HISTOGRAM_##identifier,
enum stats_counter { STATS_COUNTERS(STATS_ENUM_COUNTER) STATS_COUNTER_COUNT };
enum stats_histogram { STATS_HISTOGRAMS(STATS_ENUM_HISTOGRAM) STATS_HISTOGRAM_COUNT };

/* Log-linear: 8 sub-buckets an octave, so a bucket is at most 12.5 % wide. Values from 0 up to
 * 2^40 - 1 (18 minutes in nanoseconds); larger ones go into the last bucket. */
#define STATS_SUB_BUCKETS   8
#define STATS_BUCKETS_COUNT 304

struct stats_block; /* shm/layout.h */

/* `index` as in shm/process.h: PROCESS_WORKER or a lane. The caller must be the one writer. */
struct stats_block *stats_writer(struct segment *segment, uint32_t index);
void stats_add(struct stats_block *block, enum stats_counter counter, uint64_t n);
/* What the block's writer and its predecessors have counted. */
uint64_t stats_counted(const struct stats_block *block, enum stats_counter counter);
void stats_record(struct stats_block *block, enum stats_histogram histogram, uint64_t value);

struct stats_histogram_view {
    uint64_t buckets[STATS_BUCKETS_COUNT];
    uint64_t count, sum;
};
struct stats_view {
    uint64_t counters[STATS_COUNTER_COUNT];
    struct stats_histogram_view histograms[STATS_HISTOGRAM_COUNT];
};
/* Sum over all blocks (the worker's and every lane's). About 20 KiB: not for small stacks. A view's
 * count is the sum of its buckets. LANE_* and BELL_WAKES are counted by shm/ itself, and
 * WORKER_STARTS by segment_open_worker(); all else by who does the thing. */
void stats_merge(const struct segment *segment, struct stats_view *view);

uint32_t stats_bucket(uint64_t value);
/* The largest value that falls into the bucket. */
uint64_t stats_bucket_upper(uint32_t bucket);
/* q in 0..1; 0 when empty. The upper bound of the bucket that holds the quantile. */
uint64_t stats_quantile(const struct stats_histogram_view *histogram, double q);

#endif
