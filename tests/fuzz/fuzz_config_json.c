/* fuzz_config_json.c - config.json: any bytes give a shape that every later computation can bear, or one line. */
#include <config.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/command.h>

#include "core/base/json.h"
#include "core/model/sizes.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Frequencies are finite and positive; bytes and FLOPs grow with the context. */
static void
check_shape(const struct model_shape *shape)
{
    float frequencies[2048];
    for (int compressed = 0; compressed < 2; compressed++) {
        shape_inv_freq(shape, compressed, frequencies);
        for (uint32_t i = 0; i < shape->rope_dim / 2; i++) {
            if (!(frequencies[i] >= 0 && frequencies[i] <= 1)) {
                __builtin_trap();
            }
        }
    }
    const struct context_sizes context = sizes_context(shape, HEARTH_KV_PACKED);
    const uint64_t near = sizes_entry_bytes(shape, HEARTH_KV_F32, 4096);
    const uint64_t far = sizes_entry_bytes(shape, HEARTH_KV_F32, 1u << 30);
    const double flops = flops_plain(sizes_flops(shape, 0, 1u << 30));
    if (context.window_bytes == 0 || near > far || !(flops > 0) || !isfinite(flops)) {
        __builtin_trap();
    }
    if ((uint64_t)shape->n_layers * shape->n_experts <= 4096) { /* the walk is as long as that */
        struct model_sizes sizes;
        sizes_of_shape(shape, HEARTH_E2M1X2, &sizes);
        if (sizes.total.bytes == 0 || sizes.total.active_bytes > sizes.total.bytes) {
            __builtin_trap();
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct hearth_error err = {0};
    struct json_object *config = NULL;
    struct model_shape shape;
    int status = json_parse("config.json", (const char *)bytes, length, &config, &err);
    status = status < 0 ? status : shape_read("config.json", config, &shape, &err);
    if (status < 0) {
        if (err.status != status || err.text[0] == '\0' || strchr(err.text, '\n')) {
            __builtin_trap();
        }
    } else {
        check_shape(&shape);
    }
    json_object_put(config);
    return 0;
}
