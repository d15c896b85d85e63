/* report.c - see report.h. */
#include "core/front/report.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/front/render.h"

int
report_parse(const char *name, char *json, struct json_object **ret_report,
             struct hearth_error *err)
{
    struct hearth_error reason = {0};
    const int status = json_parse(name, json, strlen(json), ret_report, &reason);
    free(json);
    if (status == HEARTH_EFORMAT) {
        return error_set(err, HEARTH_EINTERNAL, "%s", reason.text);
    }
    return status < 0 ? error_no_memory(err, name) : HEARTH_OK;
}

int
report_print(struct front *front, struct json_object *report, const char *const *hidden,
             struct hearth_error *err)
{
    for (; front->json && hidden && *hidden; hidden++) {
        json_object_object_del(report, *hidden);
    }
    if (front->json) {
        return out_json(report, err);
    }
    struct text text = {0};
    render_report(report, hidden, &text);
    json_object_put(report);
    return out_text(&text, err);
}
