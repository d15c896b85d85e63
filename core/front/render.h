/* core/front/render.h - a JSON report as aligned text: one rendering for inspect, devices and plan,
 * so that a new figure in a report is seen without a change here.  Units come from the keys:
 * *bytes*, *_bytes_per_second, *seconds, *flops*, *parameters*, percent_*; what has no unit of its
 * own takes that of the object around it. */
#ifndef CORE_FRONT_RENDER_H
#define CORE_FRONT_RENDER_H

#include "core/base/json.h"
#include "core/base/text.h"

/* Appends report, an object: its plain fields, then a section for each object and a table for each
 * list of objects.  hidden: keys of the top level to leave out, ended by NULL. */
void render_report(struct json_object *report, const char *const *hidden, struct text *text);
/* Appends rows, a list of objects, as one table; its columns are the keys of the first row. */
void render_table(struct json_object *rows, const char *indent, struct text *text);

#endif
