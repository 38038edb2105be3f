/* SPDX-License-Identifier: Apache-2.0 */

/* Default deny: a reply that can't be parsed authorises nothing. */

#include "daemon/bus.h"

#include "common/text.h"
#include "daemon/bus_question.h"
#include "daemon/log.h"
#include "daemon/manager.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <time.h>

#define BUS_NAME "org.mountat1"
#define BUS_GONE "lost the connection to the system bus"
#define BUS_ADDRESS_DEFAULT "unix:path=/run/dbus/system_bus_socket"

enum {
        BUS_SECOND = 1000000, /* in the microseconds of sd-event */
        BUS_RETRY = BUS_SECOND,
        BUS_FLUSH = BUS_SECOND / 2,
        BUS_POLKIT = 10 * BUS_SECOND,       /* for a program to answer */
        BUS_INTERACTIVE = 120 * BUS_SECOND, /* for a person to type a password in */
        BUS_LARGE = 1024 * 1024,            /* bytes */

        /* DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER of the D-Bus specification */
        BUS_PRIMARY_OWNER = 1,
};

enum bus_state {
        BUS_CONNECTING, /* until the reply about the name */
        BUS_NAMED,
        BUS_LOST,    /* refused or disconnected: until the next attempt */
        BUS_LEAVING, /* the name is being released */
        BUS_LEFT,
};

struct bus {
        struct bus_setup setup;
        struct manager *manager;
        sd_bus *connection; /* NULL: between two attempts */
        sd_event_source *attempt;
        sd_event_source *turn;
        enum bus_state state;
        bool settled;
        bool complained; /* logged, for this outage */
        bool replaced;   /* by a later instance, which isn't replaced in its turn */
};

static void bus_attempt_later(struct bus *bus) {
        sd_event_source_set_time_relative(bus->attempt, BUS_RETRY);
        sd_event_source_set_enabled(bus->attempt, SD_EVENT_ONESHOT);
}

static bool bus_is_to_stay(const struct bus *bus) {
        return bus->state < BUS_LEAVING;
}

/* ---- what the bus says ---- */

static void bus_lose(struct bus *bus, int error, const char *why) {
        if (!bus_is_to_stay(bus)) {
                bus->state = BUS_LEFT;
                return;
        }
        bus->state = BUS_LOST;
        bus->settled = true;
        if (!bus->complained)
                log_write(LOG_WARNING,
                          &(struct log_subject){.event = LOG_EVENT_NO_BUS, .error = error},
                          "%s, retrying every second", why);
        bus->complained = true;
        bus_attempt_later(bus);
}

static int bus_on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        (void)message;
        (void)error;
        bus_lose(userdata, -ENOTCONN, BUS_GONE);
        return 0;
}

static int bus_on_replaced(sd_bus_message *signal, void *userdata, sd_bus_error *error) {
        struct bus *bus = userdata;
        const char *name;

        (void)error;
        if (bus->state != BUS_NAMED || sd_bus_message_read(signal, "s", &name) < 0 ||
            strcmp(name, BUS_NAME) != 0)
                return 0;
        bus->replaced = true;
        bus_lose(bus, 0, "another process has taken the name " BUS_NAME " on the system bus");
        return 0;
}

static int bus_on_named(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct bus *bus = userdata;
        uint32_t answer;

        (void)error;
        if (bus->state != BUS_CONNECTING)
                return 0;
        if (sd_bus_message_is_method_error(reply, NULL)) {
                bus_lose(bus, -sd_bus_message_get_errno(reply),
                         "cannot acquire the name " BUS_NAME " on the system bus");
                return 0;
        }
        if (sd_bus_message_read(reply, "u", &answer) < 0 || answer != BUS_PRIMARY_OWNER) {
                bus_lose(bus, 0, "another process owns the name " BUS_NAME " on the system bus");
                return 0;
        }
        bus->state = BUS_NAMED;
        bus->replaced = false;
        bus->settled = true;
        bus->complained = false;
        log_write(LOG_DEBUG, NULL, "acquired the name " BUS_NAME " on the system bus");
        return 0;
}

/* All calls to the name have arrived by now. */
static int bus_on_unnamed(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct bus *bus = userdata;

        (void)reply;
        (void)error;
        bus->state = BUS_LEFT;
        return 0;
}

/* ---- connecting ---- */

static int bus_start(sd_bus *connection) {
        const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
        int r = sd_bus_set_address(connection, address ?: BUS_ADDRESS_DEFAULT);

        if (r >= 0)
                r = sd_bus_set_bus_client(connection, true);
        if (r >= 0)
                r = sd_bus_negotiate_fds(connection, false);
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(connection, false);
        if (r >= 0)
                r = sd_bus_set_close_on_exit(connection, false); /* bus_free() has to reply */
        if (r >= 0)
                r = sd_bus_set_watch_bind(connection, true); /* wait until there is a bus */
        return r < 0 ? r : sd_bus_start(connection);
}

/*
 * Requests the name as replacing and replaceable: a killed instance with a thread stuck in the
 * kernel keeps its connection open, and with it the name. The bus policy lets no other user own it.
 */
static int bus_connect(struct bus *bus) {
        sd_bus *connection = NULL;
        int r = sd_bus_new(&connection);

        if (r >= 0)
                r = bus_start(connection);
        if (r >= 0)
                r = manager_publish(connection, bus->manager);
        if (r >= 0)
                r = sd_bus_match_signal_async(connection, NULL, "org.freedesktop.DBus.Local",
                                              "/org/freedesktop/DBus/Local",
                                              "org.freedesktop.DBus.Local", "Disconnected",
                                              bus_on_disconnected, NULL, bus);
        if (r >= 0)
                r = sd_bus_match_signal_async(connection, NULL, "org.freedesktop.DBus",
                                              "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                              "NameLost", bus_on_replaced, NULL, bus);
        if (r >= 0)
                r = sd_bus_request_name_async(
                        connection, NULL, BUS_NAME,
                        SD_BUS_NAME_ALLOW_REPLACEMENT |
                                (bus->replaced ? 0 : SD_BUS_NAME_REPLACE_EXISTING),
                        bus_on_named, bus);
        if (r >= 0)
                r = sd_bus_attach_event(connection, bus->setup.event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0) {
                sd_bus_close_unref(connection);
                return r;
        }
        bus->connection = connection;
        bus->state = BUS_CONNECTING;
        return 0;
}

static void bus_disconnect(struct bus *bus) {
        if (!bus->connection)
                return;
        sd_bus_detach_event(bus->connection);
        bus->connection = sd_bus_close_unref(bus->connection);
}

static bool bus_is_closed(const struct bus *bus) {
        return !bus->connection || sd_bus_is_open(bus->connection) <= 0;
}

/*
 * Once a second until the name is ours. sd-bus closes a connection whose descriptor it can't watch
 * (epoll_ctl(2) is out of memory), but reports that only in the next iteration of the loop, which
 * nothing else may cause.
 */
static int bus_on_attempt(sd_event_source *source, uint64_t usec, void *userdata) {
        struct bus *bus = userdata;
        int r;

        (void)source;
        (void)usec;
        if (bus->state == BUS_LOST || (bus->state == BUS_CONNECTING && bus_is_closed(bus))) {
                bus_disconnect(bus);
                r = bus_connect(bus);
                if (r < 0)
                        bus_lose(bus, r, "cannot connect to the system bus");
        }
        if (bus->state == BUS_CONNECTING)
                bus_attempt_later(bus);
        return 0;
}

/* At the end of each iteration of the loop, after replies have been written. */
static int bus_on_turn(sd_event_source *source, void *userdata) {
        struct bus *bus = userdata;

        (void)source;
        manager_turn(bus->manager);
        return 0;
}

/* ---- for the server ---- */

static struct bus *bus_destroy(struct bus *bus) {
        sd_event_source_disable_unref(bus->attempt);
        sd_event_source_disable_unref(bus->turn);
        manager_free(bus->manager);
        free(bus);
        return NULL;
}

int bus_new(const struct bus_setup *setup, struct bus **ret) {
        struct bus *bus = calloc(1, sizeof(*bus));
        int r;

        if (!bus)
                return -ENOMEM;
        /*
         * Returns the memory of large messages to the system when it is freed. By default malloc(3)
         * raises the threshold to the size of the largest block freed so far.
         */
        mallopt(M_MMAP_THRESHOLD, BUS_LARGE);
        bus->setup = *setup;
        bus->state = BUS_LOST;
        bus->manager = manager_new(setup->context, setup->threads);
        r = bus->manager ? 0 : -ENOMEM;
        if (r >= 0)
                r = sd_event_add_post(setup->event, &bus->turn, bus_on_turn, bus);
        if (r >= 0)
                r = sd_event_add_time(setup->event, &bus->attempt, CLOCK_MONOTONIC, 0, 0,
                                      bus_on_attempt, bus);
        if (r < 0) {
                bus_destroy(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

bool bus_has_settled(const struct bus *bus) {
        return !bus || bus->settled;
}

bool bus_is_idle(const struct bus *bus) {
        return !bus || (bus->state != BUS_LEAVING && manager_is_idle(bus->manager));
}

void bus_tick(struct bus *bus) {
        if (bus && bus->state == BUS_NAMED && bus_is_closed(bus))
                bus_lose(bus, -ENOTCONN, BUS_GONE);
}

/* The name may be ours, and calls on their way, before the bus's reply has been read. */
static bool bus_may_be_named(const struct bus *bus) {
        struct ucred peer = {0};
        socklen_t size = sizeof(peer);

        if (bus->state != BUS_CONNECTING || !bus->connection)
                return bus->state == BUS_NAMED;
        return getsockopt(sd_bus_get_fd(bus->connection), SOL_SOCKET, SO_PEERCRED, &peer, &size) ==
                       0 &&
               peer.uid != (uid_t)-1; /* otherwise there is no bus yet */
}

void bus_leave(struct bus *bus) {
        bool named;

        if (!bus || !bus_is_to_stay(bus))
                return;
        named = bus_may_be_named(bus);
        bus->state = BUS_LEFT;
        if (named &&
            sd_bus_release_name_async(bus->connection, NULL, BUS_NAME, bus_on_unnamed, bus) >= 0)
                bus->state = BUS_LEAVING;
}

/* The present time of CLOCK_MONOTONIC: sd_event_now() returns that of the loop's last wakeup. */
static uint64_t bus_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * BUS_SECOND + now.tv_nsec / 1000;
}

static void bus_flush(struct bus *bus) {
        const uint64_t deadline = bus_now() + BUS_FLUSH;
        uint64_t queued, now;

        while (sd_bus_is_ready(bus->connection) > 0 && (now = bus_now()) < deadline &&
               sd_bus_get_n_queued_write(bus->connection, &queued) >= 0 && queued > 0)
                if (sd_bus_process(bus->connection, NULL) == 0)
                        sd_bus_wait(bus->connection, deadline - now);
}

struct bus *bus_free(struct bus *bus) {
        if (!bus)
                return NULL;
        bus->state = BUS_LEFT;
        manager_close(bus->manager);
        if (bus->connection)
                bus_flush(bus);
        bus_disconnect(bus);
        return bus_destroy(bus);
}

void bus_hang_up(struct bus *bus) {
        if (bus && bus->state == BUS_NAMED)
                shutdown(sd_bus_get_fd(bus->connection), SHUT_RDWR);
}

/* ---- questions: the caller's credentials ---- */

int bus_ask_who(const struct bus_question *question, sd_bus_slot **slot) {
        return sd_bus_call_method_async(sd_bus_message_get_bus(question->call), slot,
                                        "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                        "org.freedesktop.DBus", "GetConnectionCredentials",
                                        question->on_reply, question->userdata, "s",
                                        sd_bus_message_get_sender(question->call));
}

/* One entry of the a{sv} that the D-Bus specification defines. */
static int bus_read_credential(sd_bus_message *reply, uint32_t *uid, uint32_t *pid) {
        const char *key;
        int r = sd_bus_message_read(reply, "s", &key);

        if (r < 0)
                return r;
        if (strcmp(key, "UnixUserID") == 0)
                return sd_bus_message_read(reply, "v", "u", uid);
        if (strcmp(key, "ProcessID") == 0)
                return sd_bus_message_read(reply, "v", "u", pid);
        return sd_bus_message_skip(reply, "v");
}

int bus_read_who(sd_bus_message *reply, struct subject *subject) {
        uint32_t uid = UINT32_MAX, pid = 0;
        int r;

        if (sd_bus_message_is_method_error(reply, NULL))
                return -sd_bus_message_get_errno(reply);
        r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                r = bus_read_credential(reply, &uid, &pid);
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        if (r >= 0 && uid == UINT32_MAX)
                r = -ENODATA;
        if (r < 0)
                return r;
        *subject = (struct subject){.uid = uid, .pid = pid, .trust = TRUST_USER};
        return 0;
}

/* ---- questions: authorisation ---- */

/* CheckAuthorization(subject, action, details, flags, cancellation id) */
int bus_ask_polkit(const struct bus_question *question, sd_bus_slot **slot) {
        sd_bus *connection = sd_bus_message_get_bus(question->call);
        bool interactive = sd_bus_message_get_allow_interactive_authorization(question->call) > 0;
        sd_bus_message *message = NULL;
        int r = sd_bus_message_new_method_call(connection, &message, "org.freedesktop.PolicyKit1",
                                               "/org/freedesktop/PolicyKit1/Authority",
                                               "org.freedesktop.PolicyKit1.Authority",
                                               "CheckAuthorization");

        if (r >= 0)
                r = sd_bus_message_append(message, "(sa{sv})sa{ss}", "system-bus-name", 1, "name",
                                          "s", sd_bus_message_get_sender(question->call),
                                          question->action, question->value ? 1 : 0,
                                          question->detail, question->value);
        if (r >= 0)
                r = sd_bus_message_append(message, "us", interactive ? 1 : 0, "");
        if (r >= 0)
                r = sd_bus_call_async(connection, slot, message, question->on_reply,
                                      question->userdata,
                                      interactive ? BUS_INTERACTIVE : BUS_POLKIT);
        sd_bus_message_unref(message);
        return r;
}

static struct verdict bus_judge_error(const sd_bus_error *error) {
        static const char absent[] = "only root may do this: polkit is not available";
        static const char busy[] = "polkit is busy or doesn't answer: try again";
        static const struct {
                const char *name; /* if it ends in a dot, a prefix */
                enum status status;
                const char *text;
        } known[] = {
                {SD_BUS_ERROR_SERVICE_UNKNOWN, STATUS_NOT_AUTHORISED, absent},
                {SD_BUS_ERROR_NAME_HAS_NO_OWNER, STATUS_NOT_AUTHORISED, absent},
                {"org.freedesktop.DBus.Error.Spawn.", STATUS_NOT_AUTHORISED, absent},
                {"org.freedesktop.systemd1.", STATUS_NOT_AUTHORISED, absent}, /* NoSuchUnit, … */
                /* dbus-daemon's max_replies_per_connection */
                {SD_BUS_ERROR_LIMITS_EXCEEDED, STATUS_LIMIT_EXCEEDED, busy},
                {SD_BUS_ERROR_NO_REPLY, STATUS_LIMIT_EXCEEDED, busy},
                {SD_BUS_ERROR_TIMEOUT, STATUS_LIMIT_EXCEEDED, busy},
                {SD_BUS_ERROR_NO_MEMORY, STATUS_LIMIT_EXCEEDED, busy},
                {SD_BUS_ERROR_DISCONNECTED, STATUS_LIMIT_EXCEEDED, busy},
        };
        struct verdict verdict = verdict_refuse(STATUS_HOST_FAILED, STATUS_NO_TARGET);
        char text[128];

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
                size_t length = strlen(known[i].name);

                if (strncmp(error->name, known[i].name, length) == 0 &&
                    (error->name[length] == '\0' || known[i].name[length - 1] == '.'))
                        return verdict_explain(known[i].status, STATUS_NO_TARGET, known[i].text);
        }
        snprintf(verdict.text, sizeof(verdict.text), "cannot ask polkit for authorisation: %s",
                 text_abridge(text, sizeof(text), error->message ?: error->name));
        return verdict;
}

/*
 * Whether polkit has lost the caller. The same error from the bus is about polkit, which isn't
 * there.
 */
static bool bus_misses_caller(sd_bus_message *reply) {
        const char *sender = sd_bus_message_get_sender(reply);

        return sender && strcmp(sender, "org.freedesktop.DBus") != 0 &&
               sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NAME_HAS_NO_OWNER) > 0;
}

struct verdict bus_judge_polkit(sd_bus_message *reply, bool *challenge) {
        const sd_bus_error *error = sd_bus_message_get_error(reply);
        int granted, may_be_asked;

        *challenge = false;
        if (bus_misses_caller(reply))
                return verdict_explain(STATUS_NOT_AUTHORISED, STATUS_NO_TARGET,
                                       "the caller left the bus before polkit was asked");
        if (error)
                return bus_judge_error(error);
        if (sd_bus_message_enter_container(reply, 'r', "bba{ss}") < 0 ||
            sd_bus_message_read(reply, "bb", &granted, &may_be_asked) < 0)
                return verdict_explain(STATUS_HOST_FAILED, STATUS_NO_TARGET,
                                       "cannot parse polkit's reply");
        if (granted)
                return VERDICT_OK;
        *challenge = may_be_asked;
        return verdict_explain(STATUS_NOT_AUTHORISED, STATUS_NO_TARGET,
                               may_be_asked ? "an administrator must authorise this: call again, "
                                              "and allow interactive authorisation"
                                            : "polkit doesn't authorise you to do this: ask an "
                                              "administrator");
}
