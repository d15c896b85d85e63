/* embed.c - looks up the tokens' rows; each stream starts as a copy.  The table stays where the program has mapped it.
 */
#include <string.h>

#include "backends/cpu/cpu.h"

void
cpu_embed(struct host_call *call, const struct hearth_op_embed *op)
{
    const unsigned char *ids = host_view(call, "ids", op->ids, op->n, 1, sizeof(int32_t));
    float *streams = host_view_f32(call, "streams", op->streams, (uint64_t)op->n * op->n_streams, op->dim);
    if (call->status < 0 || !host_call_check(call, op->table != NULL, "table: a weight wanted, none given")) {
        return;
    }
    const struct host_matrix *table = host_weight(call, "table", op->table, 0, op->table->matrices[0].rows, op->dim);
    if (call->status < 0 ||
        !host_call_check(call, table->packing == CPU_CANONICAL, "table: a weight for embedding wanted")) {
        return;
    }
    for (uint32_t t = 0; t < op->n; t++) {
        int32_t id;
        memcpy(&id, ids + t * sizeof id, sizeof id);
        if (id < 0 || (uint64_t)id >= table->rows) {
            host_call_fail(call, HEARTH_EINTERNAL, "ids[%u]: 0 .. %llu wanted, %d found", t,
                           (unsigned long long)table->rows - 1, id);
            return;
        }
        float *first = streams + (uint64_t)t * op->n_streams * op->dim;
        host_matrix_row(table, (uint64_t)id, first);
        for (uint32_t s = 1; s < op->n_streams; s++) {
            memcpy(first + (uint64_t)s * op->dim, first, op->dim * sizeof *first);
        }
    }
}
