/* embed.c - a stranger's program: opens the model it is given, asks for one token, says its text. */
#include <hearth/engine.h>
#include <stdio.h>
#include <stdlib.h>

static int
complain(const struct hearth_error *err)
{
    fprintf(stderr, "embed: %s\n", err->text);
    return hearth_status_exit(err->status);
}

static int
ask(struct hearth_engine *engine, struct hearth_error *err)
{
    struct hearth_model_facts facts;
    struct hearth_session *session = NULL;
    struct hearth_sampler *sampler = NULL;
    const struct hearth_sampling greedy = {.temperature = 0, .top_p = 1};
    int32_t *ids = NULL, next;
    char *text = NULL;
    size_t n;
    hearth_engine_facts(engine, &facts);
    float *logits = calloc(facts.vocab_size, sizeof *logits);
    int status = logits ? hearth_encode(engine, "The file", 8, false, &ids, &n, err) : HEARTH_EMEMORY;
    status = status < 0 ? status : hearth_session_new(engine, 64, &session, err);
    status = status < 0 ? status : hearth_session_feed(session, ids, n, logits, 1, NULL, err);
    status = status < 0 ? status : hearth_sampler_new(&greedy, &sampler, err);
    status = status < 0 ? status : hearth_sampler_pick(sampler, logits, facts.vocab_size, &next, err);
    status = status < 0 ? status : hearth_decode(engine, &next, 1, &text, NULL, err);
    if (status == HEARTH_OK) {
        printf("hearth %s: The file%s\n", hearth_version(), text);
    }
    free(text);
    hearth_sampler_free(sampler);
    hearth_session_free(session);
    free(ids);
    free(logits);
    return status;
}

int
main(int argc, char **argv)
{
    struct hearth_error err = {0};
    struct hearth_config *config = NULL;
    struct hearth_engine *engine = NULL;
    int status = hearth_config_new(&config, &err);
    if (status == HEARTH_OK && argc > 1) {
        status = hearth_config_set(config, "model.path", argv[1], "command line", &err);
    }
    status = status < 0 ? status : hearth_engine_open(config, NULL, &engine, &err);
    status = status < 0 ? status : ask(engine, &err);
    hearth_engine_close(engine);
    hearth_config_free(config);
    return status < 0 ? complain(&err) : 0;
}
