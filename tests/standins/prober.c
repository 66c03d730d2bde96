/* A stand-in for a model server that was taken over: what it can reach, have and change.

   It takes a llama-server's place and its arguments, of which it heeds `--port`. LLAMA_PROBE names
   what it tries to connect to: HOST:PORT or /PATH/OF/A.SOCKET, separated by spaces. It prints
     reached ADDRESS, refused ADDRESS     one line each
     capabilities HEX                     all that it has or could get
     writable PATH                        each place of its root that it can write to
     done
   and then answers every request with 200, as a server that is ready and idle.
*/
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 1500

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                             "Content-Length: 15\r\nConnection: close\r\n\r\n{\"status\":\"ok\"}";

static void leave(int signal_number) { (void)signal_number; _exit(0); }

static int connects(const struct sockaddr *to, socklen_t length) {
    int tried = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int there = connect(tried, to, length) == 0;
    if (!there && errno == EINPROGRESS) {
        struct pollfd waits = {.fd = tried, .events = POLLOUT};
        int error = ETIMEDOUT;
        socklen_t size = sizeof error;
        if (poll(&waits, 1, PATIENCE_MS) == 1) getsockopt(tried, SOL_SOCKET, SO_ERROR, &error, &size);
        there = error == 0;
    }
    close(tried);
    return there;
}

static int reaches(char *address) {
    if (*address == '/') {
        struct sockaddr_un path = {.sun_family = AF_UNIX};
        strncpy(path.sun_path, address, sizeof path.sun_path - 1);
        return connects((struct sockaddr *)&path, sizeof path);
    }
    char host[128] = "";
    char *port = strrchr(address, ':');
    if (port == NULL || port - address >= (long)sizeof host) return 0;
    memcpy(host, address, port - address);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port + 1))};
    if (inet_pton(AF_INET, host, &to.sin_addr) != 1) return 0;
    return connects((struct sockaddr *)&to, sizeof to);
}

static void capabilities(void) {
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    unsigned long long all = 0, set;
    while (status != NULL && fgets(line, sizeof line, status))
        if (strncmp(line, "Cap", 3) == 0 && sscanf(strchr(line, ':') + 1, "%llx", &set) == 1) all |= set;
    printf("capabilities %llx\n", all);
}

static void writable(const char *folder) {
    char path[256];
    snprintf(path, sizeof path, "%s/probe", folder);
    int made = open(path, O_CREAT | O_WRONLY, 0600);
    if (made >= 0) printf("writable %s\n", folder);
}

int main(int count, char **arguments) {
    int port = 8080, one = 1;
    for (int i = 1; i + 1 < count; i++)
        if (strcmp(arguments[i], "--port") == 0) port = atoi(arguments[i + 1]);
    signal(SIGTERM, leave);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    char *targets = getenv("LLAMA_PROBE");
    for (char *each = targets ? strtok(strdup(targets), " ") : NULL; each; each = strtok(NULL, " "))
        printf("%s %s\n", reaches(each) ? "reached" : "refused", each);
    capabilities();
    const char *places[] = {"", "/usr", "/usr/bin", "/etc", "/dev", "/proc", "/sys", "/run",
                            "/run/vram-orchestrator", "/models"};
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) writable(places[i]);
    printf("done\n");
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 64)) return 98;
    for (;;) {
        char request[4096];
        int caller = accept(listener, NULL, NULL);
        if (caller < 0) continue;
        if (read(caller, request, sizeof request) > 0) write(caller, ANSWER, sizeof ANSWER - 1);
        close(caller);
    }
}
