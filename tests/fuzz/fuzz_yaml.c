/* fuzz_yaml.c - configuration files: any bytes give a configuration or one line, and what loads can be dumped and
 * loaded again. */
#include <config.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/config/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct hearth_config *config, *again;
    struct hearth_error err = {0};
    char *dump;
    if (hearth_config_new(&config, &err) < 0) {
        return 0;
    }
    const int status = config_yaml_load(config, "fuzz.yaml", (const char *)bytes, length, &err);
    if (status < 0 && (err.text[0] == '\0' || strchr(err.text, '\n'))) {
        __builtin_trap(); /* an error is exactly one line */
    }
    if (status == HEARTH_OK && config_refresh(config, &err) == HEARTH_OK &&
        hearth_config_dump(config, false, &dump, &err) == HEARTH_OK) {
        if (hearth_config_new(&again, &err) == HEARTH_OK) {
            if (config->n_options == 0 && config_yaml_load(again, "dump", dump, strlen(dump), &err) < 0) {
                __builtin_trap();
            }
            hearth_config_free(again);
        }
        free(dump);
    }
    hearth_config_free(config);
    return 0;
}
