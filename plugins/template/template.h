/* template.h - what the two files of this plugin share.
 *
 * The structs are the plugin's own: hearth sees pointers to them and never looks inside.  Here device memory is memory
 * of this process; on an accelerator these members become handles of its driver. */
#ifndef TEMPLATE_H
#define TEMPLATE_H

#include <hearth/numerics.h>
#include <hearth/plugin.h>

struct hearth_device {
    uint32_t index;
};

struct hearth_buffer {
    uint64_t size;
    unsigned char *bytes;
};

/* One matrix of e2m1 codes.  A place to repack for your machine: whatever weight_create keeps is never read back. */
struct template_matrix {
    uint64_t rows, cols;
    unsigned char *codes;  /* [rows][cols / 2]: two elements a byte, the even one in the low four bits */
    unsigned char *scales; /* [rows][blocks of 32 columns]: e8m0 codes, powers of two */
};

/* An expert: y = w2 (silu(w1 x) * w3 x). */
struct hearth_weight {
    struct template_matrix w1, w3; /* [inner][dim] */
    struct template_matrix w2;     /* [dim][inner] */
};

/* expert.c: runs the command, whose arguments were checked.  x, routes, y: as in command.h.  Errors: EMEMORY. */
int template_expert_ffn(const struct hearth_op_expert_ffn *op, bool native, const float *x,
                        const struct hearth_route *routes, float *y);

#endif
