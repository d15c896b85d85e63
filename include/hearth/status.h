/* hearth/status.h - how every call of hearth reports what went wrong.
 *
 * Calls return 0 or a negative code of HEARTH_STATUS_MAP.  On failure the caller's struct hearth_error (which may be
 * NULL) holds one line for a person: what was wanted, what was found, and where (file, field, tensor, device).
 * Parameters named ret_* are untouched on failure.  Thread: the struct belongs to its caller; nothing here is shared.
 */
#ifndef HEARTH_STATUS_H
#define HEARTH_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, code, class, text).  The class is the exit code of the hearth program for that kind of failure. */
#define HEARTH_STATUS_MAP(X)                                                                       \
    X(OK, 0, HEARTH_EXIT_OK, "success")                                                            \
    X(EUSAGE, -1, HEARTH_EXIT_USAGE, "wrong use of a command or call")                             \
    X(ECONFIG, -2, HEARTH_EXIT_INPUT, "wrong configuration")                                       \
    X(EFORMAT, -3, HEARTH_EXIT_INPUT, "malformed or inconsistent input")                           \
    X(EUNSUPPORTED, -4, HEARTH_EXIT_INPUT, "valid input that this build cannot serve")             \
    X(EIO, -5, HEARTH_EXIT_INPUT, "a file could not be read or written")                           \
    X(ECONTEXT, -6, HEARTH_EXIT_RESOURCES, "the context is full")                                  \
    X(EMEMORY, -7, HEARTH_EXIT_RESOURCES, "not enough memory")                                     \
    X(EPLUGIN, -8, HEARTH_EXIT_DEVICE, "a plugin could not be used")                               \
    X(EDEVICE, -9, HEARTH_EXIT_DEVICE, "a device failed")                                          \
    X(ELOST, -10, HEARTH_EXIT_DEVICE, "a device was lost")                                         \
    X(ETIMEOUT, -11, HEARTH_EXIT_DEVICE, "a device did not answer in time")                        \
    X(EINTERRUPTED, -12, HEARTH_EXIT_INTERRUPTED, "interrupted by the caller")                     \
    X(EINTERNAL, -13, HEARTH_EXIT_INTERNAL, "a mistake of ours")

enum hearth_exit {
    HEARTH_EXIT_OK = 0,
    HEARTH_EXIT_USAGE = 2,
    HEARTH_EXIT_INPUT = 3,
    HEARTH_EXIT_RESOURCES = 4,
    HEARTH_EXIT_DEVICE = 5,
    HEARTH_EXIT_INTERNAL = 70,
    HEARTH_EXIT_INTERRUPTED = 130
};

enum hearth_status {
#define HEARTH_STATUS_ENUM(name, code, class, text) HEARTH_##name = (code),
    HEARTH_STATUS_MAP(HEARTH_STATUS_ENUM)
#undef HEARTH_STATUS_ENUM
};

#define HEARTH_ERROR_TEXT_BYTES 512

struct hearth_error {
    int status;                         /* enum hearth_status */
    int native;                         /* errno, cl_int or another foreign code; 0 if there is none */
    char text[HEARTH_ERROR_TEXT_BYTES]; /* UTF-8, NUL-terminated, no newline */
};

#ifdef __cplusplus
}
#endif
#endif
