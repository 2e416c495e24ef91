/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/time.h"
#include "host/waiter.h"

/* Rounds of posted work, which posts work, before the next look at the descriptors. */
#define POSTED_ROUNDS 4
/* A timer that was set so lately is left to fire too early rather than set again for later. */
#define TIMER_REST_NS 1000000u

/*
 * A wait ends by a descriptor, by the eventfd (posted work, an earlier deadline,
 * stop) or by the timerfd, which gives deadlines finer than epoll_wait's
 * milliseconds. `state` spares the eventfd's system call while the loop is not
 * asleep: it is AWAKE from just before the last look at posted work on, and WOKEN when there is more since. Both
 * descriptors are edge-triggered counters: each write and each expiry is an event, and nobody has to read them.
 *
 * A source removed within a callback may still have an event in the round's
 * array: it is marked dead and freed after the round.
 */
struct source {
	int fd;
	uint32_t events;
	loop_fn *fn;
	void *opaque;
	bool always_ready; /* a regular file: EPERM from epoll_ctl */
	bool dead;
	struct source *next;
};

struct work {
	void (*fn)(void *);
	void *arg;
};

enum { AWAKE, WOKEN, ASLEEP };

struct loop {
	int epoll_fd, event_fd, timer_fd;
	struct source *sources;
	unsigned always_ready;
	bool have_dead;
	uint64_t (*timers)(void *opaque);
	void *timers_opaque;
	uint64_t timer_at, timer_set_at; /* when it fires (UINT64_MAX: not at all), and when that was set */
	atomic_int state;
	atomic_bool stopped;
	struct patience patience;
	pthread_mutex_t lock; /* over the posted work */
	struct work *work;
	size_t work_count, work_room;
};

static int watch(struct loop *loop, int fd)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = NULL };
	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

struct loop *loop_create(struct error *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	if (!loop) {
		error_set(err, ENOMEM, "out of memory for the event loop");
		return NULL;
	}
	loop->timer_at = UINT64_MAX;
	atomic_init(&loop->state, WOKEN);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	pthread_mutex_init(&loop->lock, NULL);
	if (loop->epoll_fd < 0 || loop->event_fd < 0 || loop->timer_fd < 0 ||
	    watch(loop, loop->event_fd) || watch(loop, loop->timer_fd)) {
		error_set(err, errno, "cannot make the event loop: %s; raise the limit of open files (ulimit -n)",
			  strerror(errno));
		loop_destroy(loop);
		return NULL;
	}
	return loop;
}

/* Takes the whole list, so that work may post work. False: there was none. */
static bool run_posted(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	struct work *work = loop->work;
	size_t count = loop->work_count;
	loop->work = NULL;
	loop->work_count = loop->work_room = 0;
	pthread_mutex_unlock(&loop->lock);
	for (size_t i = 0; i < count; i++)
		work[i].fn(work[i].arg);
	free(work);
	return count != 0;
}

static bool have_posted(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	bool any = loop->work_count != 0;
	pthread_mutex_unlock(&loop->lock);
	return any;
}

void loop_drain(struct loop *loop)
{
	while (run_posted(loop))
		;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	loop_drain(loop);
	for (struct source *source = loop->sources, *next; source; source = next) {
		next = source->next;
		free(source);
	}
	close_fd(loop->epoll_fd);
	close_fd(loop->event_fd);
	close_fd(loop->timer_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

static struct source *find(struct loop *loop, int fd)
{
	for (struct source *source = loop->sources; source; source = source->next)
		if (source->fd == fd && !source->dead)
			return source;
	return NULL;
}

int loop_add(struct loop *loop, int fd, uint32_t events, loop_fn *fn, void *opaque, struct error *err)
{
	if (find(loop, fd))
		return error_set(err, EEXIST, "descriptor %d is in the event loop already", fd);
	struct source *source = calloc(1, sizeof(*source));
	if (!source)
		return error_set(err, ENOMEM, "out of memory for the event loop");
	*source = (struct source){ .fd = fd, .events = events, .fn = fn, .opaque = opaque, .next = loop->sources };
	struct epoll_event event = { .events = events, .data.ptr = source };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		if (errno != EPERM) {
			int code = errno;
			free(source);
			return error_set(err, code, "cannot watch descriptor %d: %s", fd, strerror(code));
		}
		source->always_ready = true;
		loop->always_ready++;
	}
	loop->sources = source;
	return 0;
}

int loop_modify(struct loop *loop, int fd, uint32_t events, struct error *err)
{
	struct source *source = find(loop, fd);
	if (!source)
		return error_set(err, ENOENT, "descriptor %d is not in the event loop", fd);
	source->events = events;
	struct epoll_event event = { .events = events, .data.ptr = source };
	if (!source->always_ready && epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &event))
		return error_set(err, errno, "cannot watch descriptor %d: %s", fd, strerror(errno));
	return 0;
}

void loop_remove(struct loop *loop, int fd)
{
	struct source *source = find(loop, fd);
	if (!source)
		return;
	if (source->always_ready)
		loop->always_ready--;
	else
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	source->dead = loop->have_dead = true;
}

static void free_dead(struct loop *loop)
{
	for (struct source **at = &loop->sources; *at;) {
		struct source *source = *at;
		if (source->dead) {
			*at = source->next;
			free(source);
		} else {
			at = &source->next;
		}
	}
	loop->have_dead = false;
}

void loop_wake(void *opaque)
{
	struct loop *loop = opaque;
	if (atomic_exchange(&loop->state, WOKEN) != ASLEEP)
		return;
	const uint64_t one = 1;
	if (write(loop->event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_warn("cannot wake the event loop: %s", strerror(errno));
}

void loop_post(void *opaque, void (*fn)(void *arg), void *arg)
{
	struct loop *loop = opaque;
	pthread_mutex_lock(&loop->lock);
	if (loop->work_count == loop->work_room) {
		size_t room = loop->work_room ? loop->work_room * 2 : 16;
		struct work *work = realloc(loop->work, room * sizeof(*work));
		if (!work) {
			pthread_mutex_unlock(&loop->lock);
			log_error("out of memory: work for the event loop is lost");
			return;
		}
		loop->work = work;
		loop->work_room = room;
	}
	loop->work[loop->work_count++] = (struct work){ fn, arg };
	pthread_mutex_unlock(&loop->lock);
	loop_wake(loop);
}

void loop_set_timers(struct loop *loop, uint64_t (*run)(void *opaque), void *opaque)
{
	loop->timers = run;
	loop->timers_opaque = opaque;
}

/* ns from now; UINT64_MAX: never. A time of 0 would disarm the timer, hence at least 1. */
static void set_timer(struct loop *loop, uint64_t ns)
{
	if (ns == UINT64_MAX && loop->timer_at == UINT64_MAX)
		return;
	struct itimerspec spec = { 0 };
	uint64_t now = host_time_ns(), at = UINT64_MAX;
	if (ns != UINT64_MAX) {
		ns = MIN(MAX(ns, 1ull), 1000000000000000ull);
		at = now + ns;
		spec.it_value.tv_sec = (time_t)(ns / 1000000000ull);
		spec.it_value.tv_nsec = (long)(ns % 1000000000ull);
	}
	if (loop->timer_at > now && at >= loop->timer_at && now - loop->timer_set_at < TIMER_REST_NS)
		return;
	timerfd_settime(loop->timer_fd, 0, &spec, NULL);
	loop->timer_at = at;
	loop->timer_set_at = now;
}

static void dispatch(struct loop *loop, const struct epoll_event *events, int count)
{
	for (int i = 0; i < count; i++) {
		struct source *source = events[i].data.ptr;
		if (source && !source->dead)
			source->fn(source->opaque, events[i].events);
	}
	if (!loop->always_ready)
		return;
	/* Sources added in a callback stand before the list's head as it was: they wait for the next round. */
	for (struct source *source = loop->sources; source; source = source->next)
		if (source->always_ready && !source->dead && source->events & (EPOLLIN | EPOLLOUT))
			source->fn(source->opaque, source->events & (EPOLLIN | EPOLLOUT));
}

static bool file_ready(const struct loop *loop)
{
	for (const struct source *source = loop->sources; loop->always_ready && source; source = source->next)
		if (source->always_ready && !source->dead && source->events & (EPOLLIN | EPOLLOUT))
			return true;
	return false;
}

/* A look for events, and some more while others are to be expected soon. */
static int look(struct loop *loop, struct epoll_event *events, int room, uint64_t start)
{
	int count;
	do
		count = epoll_wait(loop->epoll_fd, events, room, 0);
	while (count == 0 && atomic_load(&loop->state) == AWAKE && patience_lasts(&loop->patience, start));
	return count;
}

/* At most for `wait` ns, and not at all when there is something to do already. */
static int wait_for_events(struct loop *loop, struct epoll_event *events, int room, uint64_t wait)
{
	uint64_t start = host_time_ns();
	int count = 0, awake = AWAKE;
	if (loop->patience.ns && loop->patience.ns < wait)
		count = look(loop, events, room, start);
	if (count == 0 && atomic_compare_exchange_strong(&loop->state, &awake, ASLEEP)) {
		set_timer(loop, wait);
		count = epoll_wait(loop->epoll_fd, events, room, -1);
		atomic_store(&loop->state, WOKEN);
	}
	patience_learn(&loop->patience, host_time_ns() - start);
	return count;
}

int loop_once(struct loop *loop, uint64_t max_ns, struct error *err)
{
	struct epoll_event events[32];
	for (unsigned i = 0; i < POSTED_ROUNDS && run_posted(loop); i++)
		;
	/* What fires now re-arms timers: that needs no wake-up as long as the loop is known to be awake. */
	if (loop->timers)
		loop->timers(loop->timers_opaque);
	atomic_store(&loop->state, AWAKE);
	uint64_t wait = loop->timers ? loop->timers(loop->timers_opaque) : UINT64_MAX;
	wait = MIN(wait, max_ns);
	bool busy = wait == 0 || have_posted(loop) || atomic_load(&loop->stopped) || file_ready(loop);
	int room = ARRAY_SIZE(events);
	int count = busy ? epoll_wait(loop->epoll_fd, events, room, 0) : wait_for_events(loop, events, room, wait);
	if (count < 0 && errno != EINTR)
		return error_set(err, errno, "the event loop cannot wait: %s", strerror(errno));
	if (count >= 0)
		dispatch(loop, events, count);
	if (loop->have_dead)
		free_dead(loop);
	return 0;
}

int loop_run(struct loop *loop, struct error *err)
{
	while (!atomic_load(&loop->stopped))
		if (loop_once(loop, UINT64_MAX, err) < 0)
			return -1;
	atomic_store(&loop->stopped, false);
	return 0;
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stopped, true);
	loop_wake(loop);
}
