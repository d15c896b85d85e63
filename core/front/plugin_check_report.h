/* core/front/plugin_check_report.h - what the conformance suite found, as a table for a person. */
#ifndef CORE_FRONT_PLUGIN_CHECK_REPORT_H
#define CORE_FRONT_PLUGIN_CHECK_REPORT_H

#include "core/base/json.h"
#include "core/base/text.h"

/* Appends the report of hearth_plugin_check. */
void plugin_check_report(struct json_object *report, struct text *text);

#endif
