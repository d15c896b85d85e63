/* yarn.c - rotary frequencies: g_i = base^(-2i/rd); YaRN divides the slow ones by its factor, leaves the fast ones
 * alone, and goes linearly from one to the other in between.  config.json: rope_theta, compress_rope_theta,
 * rope_scaling.*
 *
 * Every step is rounded to f32 where the published code holds a float32 tensor.  Its powers come from whatever device
 * it runs on; here they are rounded correctly. */
#include <math.h>

#include "core/model/shape.h"

/* The dimension whose wave turns n_turns times within the original context. */
static double
yarn_turning_dim(const struct model_shape *shape, double n_turns, double base)
{
    const double wave = (double)shape->yarn_original_positions / (n_turns * 2 * 3.14159265358979323846);
    return (double)shape->rope_dim * log(wave) / (2 * log(base));
}

static float
yarn_scale(float frequency, float factor, float ramp)
{
    const float keep = 1.0f - ramp;
    const float stretched = frequency / factor * (1.0f - keep);
    return stretched + frequency * keep;
}

void
shape_inv_freq(const struct model_shape *shape, bool compressed, float *ret_inv_freq)
{
    const double base = compressed ? shape->compress_rope_theta : shape->rope_theta;
    const bool yarn = compressed && shape->yarn_original_positions > 0;
    double low = 0, high = 1;
    if (yarn) {
        low = fmax(floor(yarn_turning_dim(shape, shape->yarn_beta_fast, base)), 0);
        high = fmin(ceil(yarn_turning_dim(shape, shape->yarn_beta_slow, base)), (double)shape->rope_dim - 1);
        if (low == high) {
            high += 0.001; /* a step instead of a division by zero */
        }
    }
    for (uint32_t i = 0; i < shape->rope_dim / 2; i++) {
        const float exponent = (float)(2 * i) / (float)shape->rope_dim;
        const float frequency = 1.0f / (float)pow((double)(float)base, (double)exponent);
        const float linear = ((float)i - (float)low) / (float)(high - low);
        const float ramp = linear < 0 ? 0 : linear > 1 ? 1 : linear;
        ret_inv_freq[i] = yarn ? yarn_scale(frequency, (float)shape->yarn_factor, ramp) : frequency;
    }
}
