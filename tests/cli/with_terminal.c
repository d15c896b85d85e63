/* with_terminal.c - runs a command on a terminal of its own and types at it.
 *
 *   with_terminal SECONDS SCRIPT COMMAND...
 *
 * SCRIPT is a list of steps separated by ';':
 *   =TEXT   wait until the terminal shows TEXT (after what the step before waited for)
 *   +TEXT   type TEXT and a line feed; \xNN in it is that byte.  Waits for a line
 *           editor to take over
 *   -TEXT   the same without the line feed
 * What the terminal shows goes to standard output.  Exit: the command's status; 124 when it is not
 * done after SECONDS; 125 when a text waited for did not come. */
#include <config.h>

#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static char shown[1 << 20];
static size_t n_shown, n_matched;
static int terminal;
static double deadline;

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Takes what the terminal has to show; false at its end. */
static bool
take(int milliseconds)
{
    struct pollfd poll_fd = {.fd = terminal, .events = POLLIN};
    if (poll(&poll_fd, 1, milliseconds) <= 0) {
        return true;
    }
    char part[4096];
    const ssize_t n = read(terminal, part, sizeof part);
    if (n <= 0) {
        return false; /* EIO: the other side is closed */
    }
    fwrite(part, 1, (size_t)n, stdout);
    if (n_shown + (size_t)n < sizeof shown) {
        memcpy(shown + n_shown, part, (size_t)n);
        n_shown += (size_t)n;
    }
    return true;
}

static void
finish(pid_t child, int status)
{
    fflush(stdout);
    kill(child, SIGKILL);
    exit(status);
}

static void
wait_for(pid_t child, const char *text)
{
    for (;;) {
        const char *found = memmem(shown + n_matched, n_shown - n_matched, text, strlen(text));
        if (found) {
            n_matched = (size_t)(found - shown) + strlen(text);
            return;
        }
        if (now() > deadline || !take(50)) {
            fprintf(stderr, "with_terminal: \"%s\" wanted, not shown\n", text);
            finish(child, 125);
        }
    }
}

/* A line editor shows its prompt before it takes the terminal over; what is typed in between meets
 * the terminal's own rules for control characters.  A program without one is given up on soon. */
static void
wait_for_editor(void)
{
    const double patience = now() + 3;
    struct termios state;
    while (now() < patience && now() < deadline && tcgetattr(terminal, &state) == 0
           && (state.c_lflag & ICANON) && take(20)) {
    }
}

static void
type(const char *text, bool line)
{
    wait_for_editor();
    for (; *text; text++) {
        char byte = *text;
        unsigned value;
        if (text[0] == '\\' && sscanf(text + 1, "x%2x", &value) == 1) {
            byte = (char)value;
            text += 3;
        }
        if (write(terminal, &byte, 1) != 1) {
            return;
        }
    }
    if (line && write(terminal, "\n", 1) != 1) {
        return;
    }
}

static void
play(pid_t child, char *script)
{
    for (char *step = strtok(script, ";"); step; step = strtok(NULL, ";")) {
        if (step[0] == '=') {
            wait_for(child, step + 1);
        } else {
            type(step + 1, step[0] == '+');
        }
    }
}

int
main(int argc, char **argv)
{
    if (argc < 4) {
        fputs("usage: with_terminal SECONDS SCRIPT COMMAND...\n", stderr);
        return 2;
    }
    const struct winsize size = {.ws_row = 24, .ws_col = 80};
    deadline = now() + atof(argv[1]);
    const pid_t child = forkpty(&terminal, NULL, NULL, &size);
    if (child < 0) {
        perror("with_terminal: forkpty");
        return 77;
    }
    if (child == 0) {
        setenv("TERM", "xterm", 1);
        signal(SIGINT, SIG_DFL); /* ignored, if the test runs in the background: the program would heed that */
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    play(child, argv[2]);
    while (now() < deadline && take(50)) {
    }
    fflush(stdout);
    int status = 0;
    if (now() >= deadline) {
        finish(child, 124);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
