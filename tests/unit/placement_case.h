/* placement_case.h - what the tests of plans share: a published model over devices that no test machine has.  Pure
 * arithmetic: roles carry sizes and no data. */
#ifndef TESTS_UNIT_PLACEMENT_CASE_H
#define TESTS_UNIT_PLACEMENT_CASE_H

#include "core/placement/plan.h"

#define GIB (UINT64_C(1) << 30)
#define CONTEXT 32768u

extern struct model_shape shape;
extern struct model_roles roles;
extern struct plan_device devices[4]; /* a card, two hosts, another card; the request is of the first alone */
extern struct plan_request request;

void placement_set_up(void);
void placement_tear_down(void);
/* Of the shape.  The large parts at their real sizes; the many small vectors stand in one. */
void placement_make_roles(void);

/* The plan of the request, which must be possible. */
struct plan *placement_make(void);
/* All bytes on a device. */
uint64_t placement_total(const struct plan *plan, uint32_t device);

#endif
