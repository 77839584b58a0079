/* Echo, a game for Muster in C: a socket, a control channel, one JSON object per line, and nothing but libc.
 * cc -O2 -o echo echo.c; in muster.toml:  command = ["/path/to/echo"] */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
enum { GAME = 3, PLAYERS = 128, TOKEN = 64, DATAGRAM = 1200, SILENCE_MS = 10000 };
static struct player {
    long slot;
    char token[TOKEN + 1];
    bool came, left;
    long long silent_at; /* the time when this player has left, if silent until then */
    struct sockaddr_storage address;
} players[PLAYERS];
static int control, count, came, here; /* came: players who have ever joined; here: players who are here now */
static char match[32], type[16], line[(64 << 10) + 2];
static volatile sig_atomic_t is_stopped;
static void stop(int signal) { is_stopped = signal; }
static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}
__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vdprintf(control, format, values); /* if Muster is gone, the match continues */
    va_end(values);
}
/* Not a JSON parser: it finds the value of the next "key": in a line that is known to be JSON, at any depth. That
 * suffices for Muster's messages: a quote inside a string is escaped as \", so no player's name looks like a key. */
static char *value(char *text, const char *key) {
    char quoted[32];
    int length = snprintf(quoted, sizeof quoted, "\"%s\"", key);
    while (text && (text = strstr(text, quoted))) {
        text += length + strspn(text + length, " ");
        if (*text == ':') return text + 1 + strspn(text + 1, " ");
    }
    return NULL;
}
/* Copies a string without escapes, such as a token, a match or a type. Exits if there is no such string. */
static void string(char *to, size_t size, char *text) {
    size_t length = text && *text == '"' ? strcspn(text + 1, "\"\\") : size;
    if (length >= size || text[1 + length] != '"') exit(1);
    memcpy(to, text + 1, length);
    to[length] = 0;
}
static void receive(FILE *channel) { /* waits for the next message: its type is "end" at the end of the channel */
    if (fgets(line, sizeof line, channel)) string(type, sizeof type, value(line, "type"));
    else strcpy(type, "end");
}
static void leave(struct player *p) {
    p->left = true, here--;
    tell("{\"type\":\"left\",\"slot\":%ld}\n", p->slot);
}
static bool is_same(const char *a, const char *b) { /* takes as long for a wrong token as for the right one */
    unsigned char differs = strlen(a) != strlen(b);
    for (size_t i = 0; i < strlen(a) && i < strlen(b); i++) differs |= a[i] ^ b[i];
    return !differs;
}
static void serve(char *data, size_t length, struct sockaddr_storage *from, socklen_t from_length) {
    char verb[6] = "", said[32] = "", token[TOKEN + 1] = "";
    struct player *p = NULL, *named = NULL;
    sscanf(data, "%5s %31s %64s", verb, said, token);
    for (struct player *q = players; q < players + count; q++) {
        if (q->came && !memcmp(&q->address, from, sizeof *from)) p = q;
        if (is_same(q->token, token)) named = q;
    }
    if (!strcmp(verb, "HELLO")) { /* a token is valid for one address; anything wrong is not answered */
        if (!named || strcmp(said, match) || (p && p != named)) return;
        if (!named->came) {
            p = named, p->came = true, p->address = *from, came++, here++;
            tell("{\"type\":\"joined\",\"slot\":%ld}\n", p->slot);
        }
        char *end = data + strcspn(data, "\r\n"), line_end[3] = ""; /* lines are answered with lines */
        snprintf(line_end, sizeof line_end, "%s", end);
        length = sprintf(data, "WELCOME %s slot=%ld players=%d%s", match, named->slot, count, line_end);
    } else if (!strcmp(verb, "PING")) {
        memcpy(data, "PONG", 4);
    }
    if (!p || (p->left && strcmp(verb, "BYE"))) return; /* a stranger, or a player who has left */
    sendto(GAME, data, length, 0, (struct sockaddr *)from, from_length); /* never longer than the request */
    p->silent_at = now() + SILENCE_MS;
    if (!p->left && !strcmp(verb, "BYE")) leave(p);
}
/* Reads waiting datagrams: at most this many at once, so that a flood does not delay other work. */
static int datagrams(int most, bool are_served) {
    for (int taken = 0; taken < most; taken++) {
        char data[DATAGRAM + 1];
        struct sockaddr_storage from = {0};
        socklen_t from_length = sizeof from;
        ssize_t length = recvfrom(GAME, data, sizeof data, MSG_DONTWAIT, (struct sockaddr *)&from, &from_length);
        if (length < 0) return taken;
        if (!are_served || length > DATAGRAM) continue; /* no message of this game is longer */
        data[length] = 0;
        serve(data, length, &from, from_length);
    }
    return most;
}
int main(void) {
    control = atoi(getenv("MUSTER_CONTROL_FD"));
    FILE *channel = fdopen(control, "r");
    setvbuf(channel, NULL, _IONBF, 0); /* so that poll reports all unread data */
    signal(SIGPIPE, SIG_IGN);
    tell("{\"type\":\"ready\"}\n");
    while (receive(channel), strcmp(type, "start")) /* the game's socket is not read yet */
        if (!strcmp(type, "stop") || !strcmp(type, "end")) return 0;
    signal(SIGTERM, stop);
    string(match, sizeof match, value(line, "match"));
    for (char *slot = line, *token = line; count < PLAYERS; count++) { /* every player has both */
        if (!(slot = value(slot, "slot")) || !(token = value(token, "token"))) break;
        players[count].slot = strtol(slot, NULL, 10);
        string(players[count].token, TOKEN + 1, token);
    }
    char *hello_ms = value(line, "hello_ms"), *max_ms = value(line, "max_ms");
    if (!hello_ms || !max_ms) return 1;
    long long hello_end = now() + atoll(hello_ms), match_end = now() + atoll(max_ms);
    int dropped = datagrams(4096, false); /* datagrams from before the start belong to no player */
    tell("{\"type\":\"started\"}\n");
    struct pollfd polled[] = {{control, POLLIN, 0}, {GAME, POLLIN, 0}};
    /* While players are here, or can still join. */
    while (!is_stopped && now() < match_end && (here || (now() < hello_end && came < count))) {
        if (poll(polled, 2, 100) > 0 && polled[0].revents) receive(channel);
        if (!strcmp(type, "stop")) break;
        if (!strcmp(type, "end")) polled[0].fd = -1, polled[0].revents = 0; /* Muster is gone: play to the end */
        datagrams(64, true);
        for (struct player *p = players; p < players + count; p++)
            if (p->came && !p->left && now() >= p->silent_at) leave(p);
    }
    tell("{\"type\":\"result\",\"joined\":%d,\"dropped\":%d}\n", came, dropped);
}
