/* A stand-in for a model server, small enough to be a whole container image.

   What it does is the sum of its arguments:
     --lines N          write N lines to standard output first, numbered from 0
     --tick MS          then one more line every MS milliseconds
     --serve PORT       answer every HTTP request on 0.0.0.0:PORT with 200 and a small JSON body
     --ignore-sigterm   stay when asked to leave
     --children N       start N children that sleep
     --eat MB           take so much memory and touch every page of it
     --dump             print arguments and environment, one per line
     --exit CODE        end with this code (after --after, or at once)
     --after MS         how long to run before --exit; without --exit it runs until it is stopped
*/
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                             "Content-Length: 15\r\nConnection: close\r\n\r\n{\"status\":\"ok\"}";

static void leave(int signal_number) { (void)signal_number; _exit(0); }

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void eat(long megabytes) {
    for (long i = 0; i < megabytes; i++) {
        char *piece = malloc(1 << 20);
        if (piece == NULL) exit(12);
        for (int at = 0; at < 1 << 20; at += 4096) ((volatile char *)piece)[at] = 1;
    }
}

static void spawn(int children) {
    for (int i = 0; i < children; i++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) pause();
        }
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) {
        perror("listen");
        exit(98);
    }
    return listener;
}

static void answer_one(int listener) {
    char request[4096];
    int client = accept(listener, NULL, NULL);
    if (client < 0) return;
    if (read(client, request, sizeof request) > 0 && write(client, ANSWER, sizeof ANSWER - 1) < 0)
        perror("write");
    close(client);
}

int main(int argc, char **argv) {
    int lines = 0, tick = 0, port = 0, children = 0, dump = 0, code = -1, after = 0;
    long megabytes = 0;
    signal(SIGTERM, leave);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (!strcmp(argv[i], "--ignore-sigterm")) signal(SIGTERM, SIG_IGN);
        else if (!strcmp(argv[i], "--dump")) dump = 1;
        else if (!strcmp(argv[i], "--lines")) lines = atoi(value), i++;
        else if (!strcmp(argv[i], "--tick")) tick = atoi(value), i++;
        else if (!strcmp(argv[i], "--serve")) port = atoi(value), i++;
        else if (!strcmp(argv[i], "--children")) children = atoi(value), i++;
        else if (!strcmp(argv[i], "--eat")) megabytes = atol(value), i++;
        else if (!strcmp(argv[i], "--exit")) code = atoi(value), i++;
        else if (!strcmp(argv[i], "--after")) after = atoi(value), i++;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (dump) {
        for (int i = 0; i < argc; i++) printf("arg %s\n", argv[i]);
        for (char **entry = environ; *entry; entry++) printf("env %s\n", *entry);
    }
    for (int i = 0; i < lines; i++) printf("line %d\n", i);
    eat(megabytes);
    spawn(children);
    struct pollfd waiting = {.fd = port ? listen_on(port) : -1, .events = POLLIN};
    long long ends = now_ms() + after, next_tick = now_ms() + tick;
    for (;;) {
        long long now = now_ms();
        if (code >= 0 && now >= ends) return code;
        if (tick && now >= next_tick) printf("tick\n"), next_tick = now + tick;
        if (poll(&waiting, 1, 20) > 0) answer_one(waiting.fd);
    }
}
