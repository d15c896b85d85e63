/* hearth/engine.h - embedding the runtime: a configuration, an engine (a loaded model on its devices), sessions
 * (conversations), a sampler, the tokenizer and the chat format.  The hearth program itself uses nothing else.
 *
 * Status and errors: status.h.  Strings are UTF-8.  Owner: what a call returns through ret_* belongs to the caller and
 * is released with the matching *_free (char * with free()).  Thread: one engine may serve several threads as long as
 * each session, sampler and stream is used by one thread at a time; steps of different sessions are serialised inside.
 */
#ifndef HEARTH_ENGINE_H
#define HEARTH_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <hearth/status.h>

#ifdef __cplusplus
extern "C" {
#endif

const char *hearth_version(void);
/* "EFORMAT" for HEARTH_EFORMAT ...; "unknown" otherwise. */
const char *hearth_status_name(int status);
/* The exit code of the hearth program for this status (enum hearth_exit). */
int hearth_status_exit(int status);

/* ---- progress ---------------------------------------------------------------------------------------------------- */

/* Called from the thread that made the call, at most some hundred times per phase.  Returning false asks the call to
 * stop soon; it then fails with EINTERRUPTED and leaves everything as before the call (feed: as before the current
 * chunk).  step must not use the engine that calls it. */
struct hearth_progress {
    bool (*step)(void *context, const char *phase, uint64_t done, uint64_t total, const char *unit);
    void *context;
};

/* ---- configuration ----------------------------------------------------------------------------------------------- */

struct hearth_config;

/* Every key at its default. */
int hearth_config_new(struct hearth_config **ret_config, struct hearth_error *err);
void hearth_config_free(struct hearth_config *config);
/* Reads a YAML file over what is there.  Errors: EIO, ECONFIG with file:line:column, the value, and the nearest valid
 * key. */
int hearth_config_load(struct hearth_config *config, const char *path, struct hearth_error *err);
/* Sets "section.key" to text, read as YAML; origin ("command line", "HEARTH_MODEL") is shown by dump. */
int hearth_config_set(struct hearth_config *config, const char *key, const char *text, const char *origin,
                      struct hearth_error *err);
/* The value as text: counts and bytes as plain digits ("128k" is "131072"), "" if it is unset, NULL if there is no such
 * key.  Borrowed until the next change. */
const char *hearth_config_get(const struct hearth_config *config, const char *key);
/* The effective configuration as commented YAML (each value with its origin), or as JSON. */
int hearth_config_dump(const struct hearth_config *config, bool json, char **ret_text, struct hearth_error *err);

/* ---- reports: one JSON object each, the figures behind `hearth inspect`, `devices` and `plan` -------------------- */

/* Hyper-parameters, tensors, bytes by kind, context bytes, FLOPs per token.  Reads headers only. */
int hearth_inspect(const char *model_path, char **ret_json, struct hearth_error *err);
/* The host's topology and every device of every configured plugin.  measure: also reads memory to time its bandwidth.
 */
int hearth_devices(const struct hearth_config *config, bool measure, char **ret_json, struct hearth_error *err);
/* What would go where, bytes per device, expected tokens/s.  Loads no weights. */
int hearth_plan(const struct hearth_config *config, char **ret_json, struct hearth_error *err);

/* What to check of a plugin. */
struct hearth_plugin_check {
    const char *file;           /* hearth-NAME.so */
    const char *const *options; /* "key=value", then NULL: they win over the configuration's; NULL: none */
    const char *op;             /* NULL: every operation */
    uint64_t seed;              /* of the random contents */
    uint32_t device;            /* of the plugin's devices */
    bool speed;                 /* also time one token's work at V4-Flash's sizes */
};

/* Runs the conformance suite on a plugin against the reference plugin: each operation and numerics, whether it is
 * supported, right, and how fast beside the device's roof.  ret_right: everything that is supported is right. */
int hearth_plugin_check(const struct hearth_config *config, const struct hearth_plugin_check *check,
                        const struct hearth_progress *progress, bool *ret_right, char **ret_json,
                        struct hearth_error *err);

/* ---- engine ------------------------------------------------------------------------------------------------------ */

struct hearth_engine;

struct hearth_model_facts {
    char name[64];             /* the folder's name */
    uint32_t n_layers, dim, vocab_size, max_context;
    int32_t bos_id, eos_id;    /* -1: none */
    uint64_t weight_bytes;     /* stored bytes of the main model */
    uint64_t active_bytes;     /* stored bytes read for one decoded token at short context */
    uint64_t session_bytes;    /* device bytes of one session at the configured context */
    bool has_tokenizer;
};

/* Opens model, plugins, topology, plan and weights as config says.  config must outlive the engine: plugins may ask
 * for their options at any time. */
int hearth_engine_open(const struct hearth_config *config, const struct hearth_progress *progress,
                       struct hearth_engine **ret_engine, struct hearth_error *err);
void hearth_engine_close(struct hearth_engine *engine); /* after every session of it is freed */
void hearth_engine_facts(const struct hearth_engine *engine, struct hearth_model_facts *ret_facts);
/* A device may fail while the engine works: it is lost, does not answer within device.timeout, has no memory for what
 * the plan gave it, or cannot build its kernels.  Unless device.takeover says no, a device of host memory then does its
 * work until the engine is closed: its weights are loaded again, sessions whose state lay on it are computed again from
 * their tokens when they are next used (progress says so, where a call has one), and what was asked for is done.  The
 * call that met the failure returns 0.  It fails if no device of host memory is loaded (with the device's own error) or
 * if the plan without the device does not fit the host's memory (EMEMORY); calling again tries again.  Every takeover
 * is one line of log, and here: the line of takeover `index`, from 0; NULL: there were no more.  Borrowed until the
 * engine is closed. */
const char *hearth_engine_takeover(struct hearth_engine *engine, size_t index);

/* How the weights came to their devices. */
struct hearth_load {
    double seconds;        /* files and devices were open already */
    uint64_t bytes;        /* of all weights, as the checkpoint stores them */
    uint64_t mapped_bytes; /* of files of packed weights (cache.weights) that were there */
    uint64_t packed_bytes; /* of those that were made */
    uint64_t unkept_bytes; /* packed into memory, to be packed again at the next start */
};

void hearth_engine_load(const struct hearth_engine *engine, struct hearth_load *ret_load);

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

struct hearth_session;

/* max_tokens: the context to admit; 0 = the configured one.  Errors: EMEMORY (beside other sessions; they live on),
 * EUSAGE (beyond the model's maximum), device errors. */
int hearth_session_new(struct hearth_engine *engine, uint64_t max_tokens, struct hearth_session **ret_session,
                       struct hearth_error *err);
void hearth_session_free(struct hearth_session *session);
/* An independent copy at the same position. */
int hearth_session_fork(const struct hearth_session *session, struct hearth_session **ret_session,
                        struct hearth_error *err);
/* Appends n tokens.  The logits of the last n_logits of them go to logits, f32 [n_logits][vocab_size]; n_logits <= n,
 * 0: none.  Errors: ECONTEXT (nothing was appended), EUSAGE (an id outside the vocabulary), device errors. */
int hearth_session_feed(struct hearth_session *session, const int32_t *ids, size_t n, float *logits, size_t n_logits,
                        const struct hearth_progress *progress, struct hearth_error *err);
uint64_t hearth_session_length(const struct hearth_session *session);
/* The tokens fed so far.  Borrowed until the next feed. */
const int32_t *hearth_session_ids(const struct hearth_session *session);
/* The file appears whole or not at all. */
int hearth_session_save(const struct hearth_session *session, const char *path, struct hearth_error *err);
/* Errors: EFORMAT (damaged, or of another model, numerics or version). */
int hearth_session_load(struct hearth_engine *engine, const char *path, uint64_t max_tokens,
                        struct hearth_session **ret_session, struct hearth_error *err);

/* ---- sampler ----------------------------------------------------------------------------------------------------- */

struct hearth_sampler;

struct hearth_sampling {
    float temperature; /* 0: the most likely token, ties to the lower id */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    uint32_t top_k;    /* 0: off */
    uint64_t seed;
};

/* The sampling keys of config; those that nobody set are the model's own (generation_config.json) where it has them. */
int hearth_sampling_for(const struct hearth_engine *engine, const struct hearth_config *config,
                        struct hearth_sampling *ret_sampling, struct hearth_error *err);
int hearth_sampler_new(const struct hearth_sampling *sampling, struct hearth_sampler **ret_sampler,
                       struct hearth_error *err);
void hearth_sampler_free(struct hearth_sampler *sampler);
/* logits: f32 [n].  Errors: EINTERNAL (a NaN). */
int hearth_sampler_pick(struct hearth_sampler *sampler, const float *logits, size_t n, int32_t *ret_id,
                        struct hearth_error *err);

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* Tokens of length bytes of text (no BOS is added).  special: names of special tokens inside the text become those
 * tokens; otherwise they are ordinary text.  Errors: EUNSUPPORTED (the model has no tokenizer), EMEMORY. */
int hearth_encode(const struct hearth_engine *engine, const char *text, size_t length, bool special, int32_t **ret_ids,
                  size_t *ret_n, struct hearth_error *err);
/* The bytes of n tokens, NUL-terminated; ret_length may be NULL. */
int hearth_decode(const struct hearth_engine *engine, const int32_t *ids, size_t n, char **ret_text, size_t *ret_length,
                  struct hearth_error *err);
/* The id of a token by its exact name, -1 if there is none. */
int32_t hearth_token_id(const struct hearth_engine *engine, const char *name);

/* Tokens to text as they come; whole characters only (a half is held back; an invalid byte becomes U+FFFD). */
struct hearth_text_stream;
int hearth_text_stream_new(const struct hearth_engine *engine, struct hearth_text_stream **ret_stream,
                           struct hearth_error *err);
void hearth_text_stream_free(struct hearth_text_stream *stream);
/* Text that became complete, possibly "".  Borrowed until the next call. */
int hearth_text_stream_push(struct hearth_text_stream *stream, int32_t id, const char **ret_text,
                            struct hearth_error *err);
/* What is still held back at the end. */
int hearth_text_stream_finish(struct hearth_text_stream *stream, const char **ret_text, struct hearth_error *err);

/* ---- chat -------------------------------------------------------------------------------------------------------- */

enum hearth_chat_revision { HEARTH_CHAT_APRIL = 0, HEARTH_CHAT_0731 = 1 };

struct hearth_chat_options {
    uint32_t revision;    /* enum hearth_chat_revision */
    bool thinking;        /* "thinking" mode; false is "chat" mode */
    const char *effort;   /* NULL, or a level of the revision: April high, max; 0731 low, high, max */
    bool drop_thinking;   /* forget the reasoning of earlier turns (forced off when tools are present) */
    bool with_context;    /* the messages continue an encoded conversation: no BOS, no effort prefix */
};

/* The options as the configuration has them. */
int hearth_chat_options_from_config(const struct hearth_config *config, struct hearth_chat_options *ret_options,
                                    struct hearth_error *err);
/* messages: a JSON array of messages with role, content, and as the role has them tools, tool_calls, tool_call_id,
 * reasoning_content, response_format, content blocks, task, wo_eos.  The prompt text comes back.  A fixed passage that
 * the checkpoint does not carry is left out; *ret_missing (may be NULL) then names it, once per call.  Borrowed,
 * static.  Errors: EFORMAT naming the message and field. */
int hearth_chat_encode(const struct hearth_engine *engine, const char *messages,
                       const struct hearth_chat_options *options, char **ret_text, const char **ret_missing,
                       struct hearth_error *err);
/* The message (JSON object: role, content, reasoning_content, tool_calls) a completion text holds.  Strict, as the
 * official parser.  Errors: EFORMAT. */
int hearth_chat_parse(const char *completion, size_t length, const struct hearth_chat_options *options, char **ret_json,
                      struct hearth_error *err);

/* The same while the text is still coming.  Lenient: a truncated answer ends as what it is. */
struct hearth_chat_stream;

enum hearth_chat_event_kind {
    HEARTH_CHAT_REASONING, /* more reasoning text */
    HEARTH_CHAT_CONTENT,   /* more content text */
    HEARTH_CHAT_CALL,      /* a tool call began; text is its name */
    HEARTH_CHAT_ARGUMENTS, /* more of the JSON text of the call's arguments */
    HEARTH_CHAT_CALL_END,
    HEARTH_CHAT_END        /* the end-of-sentence marker was seen */
};

struct hearth_chat_sink {
    void (*event)(void *context, enum hearth_chat_event_kind kind, uint32_t call_index, const char *text,
                  size_t length);
    void *context;
};

int hearth_chat_stream_new(const struct hearth_chat_options *options, const struct hearth_chat_sink *sink,
                           struct hearth_chat_stream **ret_stream, struct hearth_error *err);
void hearth_chat_stream_free(struct hearth_chat_stream *stream);
/* Errors: EFORMAT on text that no completion can hold; the stream then stays at its end. */
int hearth_chat_stream_push(struct hearth_chat_stream *stream, const char *text, size_t length,
                            struct hearth_error *err);
int hearth_chat_stream_finish(struct hearth_chat_stream *stream, struct hearth_error *err);

/* ---- measuring: models without a checkpoint, and what figures stand beside --------------------------------------- */

/* Random weights of real shapes, in memory: the same request gives the same weights on every machine.  Some experts are
 * favoured, as in real models. */
struct hearth_synthetic {
    const char *preset;     /* "v4-flash", "v4-pro", "tiny" */
    const uint32_t *ratios; /* compress_ratios of the layers, repeated as needed; NULL: those of the preset */
    size_t n_ratios;
    uint32_t n_layers;      /* 0: as many as ratios, or all of the preset */
    uint64_t seed;
};

/* As hearth_engine_open, with this model in place of the configured one.  Errors: EUSAGE (no such model). */
int hearth_engine_open_synthetic(const struct hearth_config *config, const struct hearth_synthetic *model,
                                 const struct hearth_progress *progress, struct hearth_engine **ret_engine,
                                 struct hearth_error *err);
/* Makes the session look as if length tokens had been fed to it: random ones, with random numbers as its state, for no
 * text gives this state.  A smaller length than the session's only goes back.  Takes the memory of max_tokens at once.
 * Errors: ECONTEXT, EMEMORY, device errors. */
int hearth_session_pretend(struct hearth_session *session, uint64_t length, struct hearth_error *err);

/* What must be read and computed at least.  A multiply-add is two operations; quantised are those whose both sides are
 * quantised, which backends compute with their fastest dot product. */
struct hearth_cost {
    const char *kind; /* "routed_experts", "index_keys" ...; static */
    double bytes;
    double quantised_operations, exact_operations;
};

#define HEARTH_MAX_COSTS 24

struct hearth_costs {
    struct hearth_cost items[HEARTH_MAX_COSTS];
    size_t n_items;
    struct hearth_cost total;
};

/* Of a step of n_tokens at position with the logits of the last one.  Bytes as they are stored: weights once a step,
 * experts as many as the tokens would choose if all were alike; state once a token. */
void hearth_engine_costs(const struct hearth_engine *engine, uint64_t position, uint64_t n_tokens,
                         struct hearth_costs *ret_costs);

/* What the devices of the plan are able to do, measured now: of several the rate at which a token visits one after the
 * other, each for its share of the bytes. */
struct hearth_limits {
    double read_bytes_per_second;
    double operations_per_second;       /* quantised; 0: the device does not say */
    double exact_operations_per_second; /* likewise */
    char operation[32];                 /* the instruction or method of operations_per_second, of the first */
    bool is_measured_by_device;         /* else the host's bandwidth is a plain read by cpu.threads threads */
};

/* Takes about `seconds`.  Errors: EUNSUPPORTED (a device with memory of its own that does not measure), device errors.
 */
int hearth_engine_limits(struct hearth_engine *engine, double seconds, struct hearth_limits *ret_limits,
                         struct hearth_error *err);

/* Pieces of work, such as kernels, that the same devices were given since they were opened, those of measurements left
 * out, and the seconds of one that does nothing, on the slowest: as of the last hearth_engine_limits; 0: unknown, or no
 * devices of pieces. */
void hearth_engine_launches(struct hearth_engine *engine, uint64_t *ret_n, double *ret_seconds);

/* ---- plugins ----------------------------------------------------------------------------------------------------- */

/* Lines of log from plugins and core; level is enum hearth_log_level of plugin.h.  Default: errors and warnings to
 * stderr.  Call before an engine is opened. */
void hearth_log_set(void (*sink)(void *context, int level, const char *text), void *context);

#ifdef __cplusplus
}
#endif
#endif
