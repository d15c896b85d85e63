/* kernels_tiered.h - prototypes of one tier's kernels (kernels.h says what they do). */
#ifndef BACKENDS_CPU_KERNELS_TIERED_H
#define BACKENDS_CPU_KERNELS_TIERED_H

#include <math.h>

#include "backends/cpu/kernels.h"
#include "backends/cpu/lanes.h"

void TIERED(k_plain)(const float *x, uint64_t n, uint64_t n_padded, float *out);
void TIERED(k_split)(const float *x, uint64_t n, uint64_t n_padded, float *out);
bool TIERED(k_pairs)(const float *x, uint64_t n, uint64_t n_padded, uint32_t dtype, uint16_t *pairs, uint64_t token,
                     uint64_t n_tokens);
void TIERED(k_quantise)(const float *x, uint64_t n, uint64_t n_padded, float *values, uint8_t *scales);
void TIERED(k_dequantise)(float *values, const uint8_t *scales, uint64_t n_padded);
enum cpu_digits_kind TIERED(k_digits)(const float *values, const uint8_t *scales, uint64_t n_padded,
                                      struct cpu_digits *out);
void TIERED(k_rows)(const struct cpu_product *product, uint64_t begin, uint64_t end);
void TIERED(k_rows_pairs)(const struct cpu_product *product, uint64_t begin, uint64_t end);
/* Of rows row .. row+n_rows-1, of e4m3 all of one band of near scales, for at most PAIRS_BATCH tokens that have pairs.
 */
void TIERED(k_near_rows)(const struct cpu_product *product, uint64_t row, uint64_t n_rows);
void TIERED(k_panels)(const struct cpu_product *product, uint64_t begin, uint64_t end);
/* With tiles: what they take of the input, and panels for several tokens; few are left to k_panels. */
void TIERED(k_blocks)(const float *values, const uint8_t *scales, const struct cpu_digits *digits, uint64_t n_padded,
                      uint64_t token, uint64_t n_tokens, const struct cpu_blocks *blocks);
void TIERED(k_tile_panels)(const struct cpu_product *product, uint64_t begin, uint64_t end);
void TIERED(k_panels_exact)(const struct cpu_product *product, uint64_t begin, uint64_t end);
void TIERED(k_rows_exact)(const struct cpu_product *product, uint64_t begin, uint64_t end);
void TIERED(k_swiglu)(float *gates, const float *ups, uint64_t n, float limit, const float *weight, bool native);
void TIERED(k_normalise)(bool native, const float *x, const float *norm, uint64_t n, float eps, float *y);
void TIERED(k_norm_head)(bool native, float *q, uint64_t n, float eps);
void TIERED(k_turn)(bool native, float *x, const float *angles, uint32_t rope_dim);
void TIERED(k_hadamard)(float *x, uint32_t width);
void TIERED(k_round_e2m1)(float *x, uint32_t n, uint8_t *codes, uint8_t *scales);
void TIERED(k_round_e4m3)(float *x, uint32_t n, uint8_t *codes, uint8_t *scales);
void TIERED(k_attend_turn)(const struct cpu_attend *attend, const float *q, float *turned);
void TIERED(k_attend_scores)(const struct cpu_attend *attend, uint64_t begin, uint64_t end);
void TIERED(k_attend_weigh)(const struct cpu_attend *attend, uint64_t begin, uint64_t end);
void TIERED(k_attend_sum)(const struct cpu_attend *attend, uint64_t begin, uint64_t end);
/* Where the tier has tiles, in the place of the four. */
bool TIERED(k_tile_attend_fits)(const float *q, uint64_t n);
void TIERED(k_tile_attend_turn)(const struct cpu_attend *attend, const float *q, float *turned);
void TIERED(k_tile_attend_scores)(const struct cpu_attend *attend, uint64_t begin, uint64_t end);
void TIERED(k_tile_attend_weigh)(const struct cpu_attend *attend, uint64_t begin, uint64_t end);
void TIERED(k_tile_attend_sum)(const struct cpu_attend *attend, uint64_t begin, uint64_t end);
void TIERED(k_index)(const struct cpu_index *index, uint64_t begin, uint64_t end);
bool TIERED(k_index_query)(const float *q, uint32_t n_heads, uint32_t width, struct cpu_index_query *query);
/* Where the tier has tiles, in the place of the two. */
bool TIERED(k_tile_index_query)(const float *q, uint32_t n_heads, uint32_t width, struct cpu_index_query *query);
void TIERED(k_tile_index)(const struct cpu_index *index, uint64_t begin, uint64_t end);
void TIERED(k_choose)(const float *scores, uint64_t n, uint32_t top_k, int32_t *work, int32_t *indices);
float TIERED(k_squares)(const float *x, uint64_t n);
void TIERED(k_collapse)(bool native, const float *x, const float *factors, uint32_t n_streams, uint64_t dim,
                        float *out);
void TIERED(k_balance4)(double *comb, uint32_t n_iterations, double eps);
void TIERED(k_expand)(bool native, float *x, const float *result, const float *post, const float *comb,
                      uint32_t n_streams, uint64_t dim);
void TIERED(k_moe_sum)(bool native, const float *const *parts, uint32_t n_parts, const float *shared, uint64_t n,
                       float *y);
void TIERED(k_pack_panel)(const unsigned char *data, const unsigned char *scales, uint64_t n_groups,
                          unsigned char *out);
void TIERED(k_unpack_panel)(const unsigned char *from, uint64_t n_groups, unsigned char *data, unsigned char *scales);
bool TIERED(k_pack_e4m3)(const unsigned char *from, uint64_t n, unsigned char *out);
uint64_t TIERED(k_roof_dots)(uint64_t n_rounds);
uint64_t TIERED(k_roof_fmas)(uint64_t n_rounds);
void TIERED(k_roof_read)(const unsigned char *from, uint64_t n);
void TIERED(k_affinities)(float *x, uint64_t n);
void TIERED(k_pool)(const float *const *scores, const float *const *values, uint64_t n_slots, uint64_t n, float *out);

/* k_attend.c, for k_tile_attend.c.  Elements begin .. end-1 of a stored row, begin and end multiples of 16; zero beyond
 * head_dim. */
void TIERED(k_attend_row)(const struct cpu_attend *attend, const unsigned char *bytes, uint64_t begin, uint64_t end,
                          float *out);
/* The heads' sums, [n_heads][end - begin], over their denominators. */
void TIERED(k_attend_put)(const struct cpu_attend *attend, const float *sums, uint64_t begin, uint64_t end);

/* k_index_bytes.c, for k_index.c: keys first .. first+n-1 unpacked; their scores, in native numerics not yet rounded.
 */
void TIERED(k_index_tile)(const struct cpu_index *work, uint64_t first, uint32_t n, struct cpu_index_tile *tile);
void TIERED(k_index_score)(const struct cpu_index *work, const struct cpu_index_query *query,
                           const struct cpu_index_tile *tile, float *scores);

#endif
