/* options.c - sampling and chat settings as the configuration has them. */
#include <config.h>

#include <string.h>
#include <time.h>

#include "core/base/error.h"
#include "core/engine/engine_internal.h"

/* What the checkpoint recommends, where the configuration is silent. */
static void
sampling_take_models(const struct model_generation *model, const struct hearth_config *config,
                     struct hearth_sampling *sampling)
{
    if (model->has_temperature && config_is_default(config, "sampling.temperature")) {
        sampling->temperature = model->temperature;
    }
    if (model->has_top_p && config_is_default(config, "sampling.top_p")) {
        sampling->top_p = model->top_p;
    }
    if (model->has_top_k && config_is_default(config, "sampling.top_k")) {
        sampling->top_k = model->top_k;
    }
}

int
hearth_sampling_for(const struct hearth_engine *engine, const struct hearth_config *config,
                    struct hearth_sampling *ret_sampling, struct hearth_error *err)
{
    struct hearth_sampling sampling = config_values(config)->sampling;
    sampling_take_models(model_generation(engine->rooms.model), config, &sampling);
    if (sampling.seed == 0) { /* "from the clock": the caller sees which, and can ask for it again */
        struct timespec now;
        if (clock_gettime(CLOCK_REALTIME, &now) != 0) {
            return error_set_errno(err, HEARTH_EINTERNAL, "sampling.seed: the clock");
        }
        /* within 2^53, so that any number format can say it */
        sampling.seed = ((uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec) &
                        ((UINT64_C(1) << 53) - 1);
    }
    *ret_sampling = sampling;
    return HEARTH_OK;
}

int
hearth_chat_options_from_config(const struct hearth_config *config,
                                struct hearth_chat_options *ret_options, struct hearth_error *err)
{
    const struct config_values *values = config_values(config);
    const bool is_april = strcmp(values->chat.revision, "april") == 0;
    if (values->chat.effort && is_april && strcmp(values->chat.effort, "low") == 0) {
        return error_set(err, HEARTH_ECONFIG,
                         "chat.effort: high or max wanted with chat.revision april, low found");
    }
    *ret_options = (struct hearth_chat_options){
        .revision = is_april ? HEARTH_CHAT_APRIL : HEARTH_CHAT_0731,
        .thinking = values->chat.thinking,
        .effort = values->chat.effort,
        .drop_thinking = values->chat.drop_thinking,
    };
    return HEARTH_OK;
}
