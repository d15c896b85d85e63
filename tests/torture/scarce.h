/* scarce.h - a world in which one request fails.
 *
 * The linker sends what our code asks of the system (memory, files, mappings, threads) through scarce.c, which refuses
 * the request it was told to and counts what is still held.  What libraries ask for themselves is not touched: json-c,
 * libyaml and hwloc have tests of their own, and some of them stop the program when memory ends.  Thread: any may ask;
 * one begins and ends. */
#ifndef TESTS_TORTURE_SCARCE_H
#define TESTS_TORTURE_SCARCE_H

enum scarce_kind { SCARCE_NOTHING, SCARCE_MEMORY, SCARCE_SYSTEM };

/* From now on the request after n others is refused, once. */
void scarce_begin(long n);
/* Ends that; what was refused (SCARCE_NOTHING: fewer requests came), and the name of the call, borrowed. */
enum scarce_kind scarce_end(const char **ret_call);
/* Blocks, mappings and open files that our code holds now. */
long scarce_held(void);

#endif
