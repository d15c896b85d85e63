/* version.c - the release this library was built from. */
#include <config.h>

#include <hearth/engine.h>

const char *
hearth_version(void)
{
    return PACKAGE_VERSION;
}
