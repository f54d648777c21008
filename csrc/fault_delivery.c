/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault_delivery.c -- touches of real mappings come to the fault path
 *
 * Owns: the table of areas, the thread that serves them, the SIGSEGV handler.
 * Locks: table_lock to change the table; an area's `serving` while the thread
 *        serves it, taken inside table_lock and kept after it.  Signal handlers
 *        take neither: an area does not go while somebody touches it.
 * Kernel: the page-fault handler of the architecture; fs/userfaultfd.c.
 */
#define _GNU_SOURCE
#include "fault_delivery.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "copy_mc.h"
#include "daxcore/types.h"
#include "errormsg.h"
#include "sys.h"
#include "uffd.h"
#include "vm_area.h"

enum {
	AREAS_MAX = 4096,
	EVENTS = 16,
	BATCH = 64,		/* touches of one area before the next one's turn */
	WAITING_MAX = 256,	/* stores to frozen files */
	WAITING_MS = 5,
	STACK_BYTES = 1 << 20
};

__thread bool fault_retry_nowait;
static _Atomic(struct fault_area *) areas[AREAS_MAX];
static _Atomic unsigned int nr_areas;	/* places ever used */
static struct mutex table_lock;
static int epoll_fd = -1;
static bool have_segv;
static struct sigaction segv_before;
static pid_t owner;	/* the process whose table this is */

/* Stores to frozen files, and pages that have failed: the thread's own. */
static struct waiting {
	unsigned int place;
	bool failed;
	size_t offset;
} waiting[WAITING_MAX];
static unsigned int nr_waiting;

static __thread uint32_t toucher;	/* whose touch is served in this thread */

/* ---- the table ------------------------------------------------------------------ */

static struct fault_area *find_area(const void *addr)
{
	unsigned int nr = smp_load_acquire(&nr_areas);

	for (unsigned int i = 0; i < nr; i++) {
		struct fault_area *area = smp_load_acquire(&areas[i]);

		if (area && (uintptr_t)addr - (uintptr_t)area->start < area->length)
			return area;
	}
	return NULL;
}

bool fault_area_overlaps(const void *addr, size_t len)
{
	unsigned int nr = smp_load_acquire(&nr_areas);
	uintptr_t start = (uintptr_t)addr;
	bool found = false;

	for (unsigned int i = 0; len && unlikely(nr) && i < nr; i++) {
		struct fault_area *area = smp_load_acquire(&areas[i]);

		found |= area && start < (uintptr_t)area->start + area->length &&
			 (uintptr_t)area->start < start + len;
	}
	return found;
}

/* ---- the thread ------------------------------------------------------------------- */

static void *page_at(const struct fault_area *area, size_t offset)
{
	return area->start + offset;
}

/* false: no more are remembered. */
static bool remember(unsigned int place, bool failed, size_t offset)
{
	if (nr_waiting == WAITING_MAX)
		return false;
	waiting[nr_waiting++] = (struct waiting){ place, failed, offset };
	return true;
}

/* A line of a file of a thread, the one that has @format. */
static bool ask_thread(uint32_t tid, const char *name, const char *format,
		       unsigned long long *ret_value)
{
	char path[64], line[128];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%u/%s", tid, name);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, format, ret_value) == 1;
	if (f)
		fclose(f);
	return found;
}

/* A thread that blocks SIGBUS would sleep on. */
static bool blocks_sigbus(uint32_t tid)
{
	unsigned long long blocked;

	return !ask_thread(tid, "status", "SigBlk: %llx", &blocked) ||
	       blocked >> (SIGBUS - 1) & 1;
}

/* The kernel itself, which a signal does not make give up: where the thread goes
 * on in user code there is -1. */
static bool in_system_call(uint32_t tid)
{
	unsigned long long number;

	return !ask_thread(tid, "syscall", "%lld", &number) || number != ~0ull;
}

bool fault_toucher_is_in(uint64_t dev, uint64_t ino)
{
	struct sys_file_info info;
	unsigned long long fd;

	return toucher && ask_thread(toucher, "syscall", "%*d %llx", &fd) &&
	       fd <= INT32_MAX && !sys_file_info((int)fd, &info) && info.dev == dev &&
	       info.ino == ino;
}

/* What a SIGBUS that the library sends means, in si_errno. */
enum sent { SENT_REFUSED, SENT_LOAD, SENT_STORE };

static int queue_sigbus(uint32_t tid, void *addr, enum sent sent)
{
	siginfo_t info = { .si_signo = SIGBUS, .si_code = SI_QUEUE, .si_errno = (int)sent };

	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_ptr = addr;
	return (int)sys_result(syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGBUS,
				       &info));
}

/*
 * The store cannot be made.  Only who stores is told: loads of the page go on.
 * 0: the signal ends the sleep; -errno: it must be told by the page.
 */
static int send_sigbus(const struct uffd_event *event, void *addr)
{
	if (blocks_sigbus(event->tid) || in_system_call(event->tid))
		return -EAGAIN;
	return queue_sigbus(event->tid, addr, SENT_REFUSED);
}

/* One answer wakes all who sleep in the page. */
static void serve_event(struct fault_area *area, unsigned int place,
			const struct uffd_event *event)
{
	size_t offset = event->address - (uintptr_t)area->start;
	int ret;

	if (offset >= area->length) {
		area->stray(area, event->address);
		return;
	}
	toucher = event->tid;
	ret = area->serve(area, offset, event->write, false);
	toucher = 0;
	if (ret > 0 && remember(place, false, offset))
		return;
	if (ret < 0 && event->write && !send_sigbus(event, page_at(area, offset)))
		return;
	if (ret < 0) {
		area->fail(area, offset);
		remember(place, true, offset);
	}
	uffd_wake(area->uffd, page_at(area, offset), DAX_PAGE_SIZE);
}

/* The area in a place, held against detaching; NULL: there is none. */
static struct fault_area *hold_area(unsigned int place)
{
	struct fault_area *area;

	mutex_lock(&table_lock);
	area = READ_ONCE(areas[place]);
	if (area)
		mutex_lock(&area->serving);
	mutex_unlock(&table_lock);
	return area;
}

static void serve_area(unsigned int place)
{
	struct fault_area *area = hold_area(place);
	struct uffd_event event;

	if (!area)
		return;
	for (int i = 0; i < BATCH && uffd_read(area->uffd, &event) > 0; i++)
		serve_event(area, place, &event);
	mutex_unlock(&area->serving);
}

/* Those who wait for a thaw touch their page again, and are told of again; so are
 * those who touch one that has failed. */
static void wake_waiting(void)
{
	unsigned int nr = nr_waiting;

	nr_waiting = 0;
	for (unsigned int i = 0; i < nr; i++) {
		struct fault_area *area = hold_area(waiting[i].place);

		if (!area)
			continue;
		if (waiting[i].offset < area->length && waiting[i].failed)
			area->forgive(area, waiting[i].offset);
		else if (waiting[i].offset < area->length)
			uffd_wake(area->uffd, page_at(area, waiting[i].offset),
				  DAX_PAGE_SIZE);
		mutex_unlock(&area->serving);
	}
}

static void *serve_faults(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct epoll_event event[EVENTS];
	uint64_t woken = 0;	/* when those who wait for a thaw were */

	pthread_setname_np(pthread_self(), "daxcore-fault");
	fault_retry_nowait = true;	/* others are to be served meanwhile */
	for (;;) {
		int nr = (int)sys_result(epoll_wait(fd, event, EVENTS,
						    nr_waiting ? WAITING_MS : -1));

		if (nr < 0 && nr != -EINTR)
			return NULL;
		for (int i = 0; i < nr; i++)
			serve_area(event[i].data.u32);
		if (nr_waiting && sys_clock_ns() - woken >= WAITING_MS * 1000000u) {
			wake_waiting();
			woken = sys_clock_ns();
		}
	}
}

/* table_lock held. */
static int start_thread(void)
{
	int ret, fd;

	if (epoll_fd >= 0)
		return 0;
	fd = (int)sys_result(epoll_create1(EPOLL_CLOEXEC));
	if (fd < 0)
		return dax_error(fd, "no descriptor for the thread that serves faults");
	ret = sys_create_thread(serve_faults, (void *)(intptr_t)fd, STACK_BYTES);
	if (ret) {
		sys_close(fd);
		return dax_error(ret, "the thread that serves faults cannot be started: no "
				 "memory, or no more threads (RLIMIT_NPROC)");
	}
	epoll_fd = fd;
	return 0;
}

static int watch(const struct fault_area *area, unsigned int place)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = place };
	int ret = start_thread();

	if (ret)
		return ret;
	ret = (int)sys_result(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, area->uffd, &event));
	if (ret)
		return dax_error(ret, "the touches of a mapping cannot be waited for");
	return 0;
}

/* ---- signals ------------------------------------------------------------------------ */

#if defined(__x86_64__)
enum { PF_WRITE = 2 };

/* Does the instruction before the interrupted one call the kernel? */
static bool context_is_syscall(const void *context)
{
	const ucontext_t *uc = context;
	const uint8_t *ip = (const uint8_t *)uc->uc_mcontext.gregs[REG_RIP];

	return ip[-2] == 0x0f && ip[-1] == 0x05;
}

static bool context_is_write(const void *context)
{
	const ucontext_t *uc = context;

	return uc->uc_mcontext.gregs[REG_ERR] & PF_WRITE;
}
#elif defined(__aarch64__)
/* The exception syndrome is in the record after the registers. */
enum { ESR_MAGIC = 0x45535201, ESR_WNR = 1 << 6 };

static bool context_is_syscall(const void *context)
{
	const ucontext_t *uc = context;
	const uint32_t svc_0 = 0xd4000001;

	return ((const uint32_t *)uc->uc_mcontext.pc)[-1] == svc_0;
}

static bool context_is_write(const void *context)
{
	const ucontext_t *uc = context;
	const uint8_t *at = uc->uc_mcontext.__reserved;
	const uint8_t *end = at + sizeof(uc->uc_mcontext.__reserved);

	while (at + 16 <= end) {
		const uint32_t *head = (const void *)at;

		if (head[0] == ESR_MAGIC)
			return *(const uint64_t *)(const void *)(at + 8) & ESR_WNR;
		if (!head[1])
			break;
		at += head[1];
	}
	return true;
}
#else
static bool context_is_syscall(const void *context)
{
	(void)context;
	return false;
}

static bool context_is_write(const void *context)
{
	(void)context;
	return true;
}
#endif

/* A child that was forked behind our back (clone(2), _Fork()) has the table, but
 * not the areas. */
static bool may_touch(const struct fault_area *area, bool write)
{
	return (!write || area->writable) && getpid() == owner;
}

/* A load of a page that is being changed ends well by itself. */
static bool serve_touch(struct fault_area *area, void *addr, bool write)
{
	size_t offset = (uintptr_t)addr - (uintptr_t)area->start;
	int err = sys_save_errno();
	int ret = area->serve(area, offset - offset % DAX_PAGE_SIZE, write, true);

	sys_restore_errno(err);
	return ret >= 0;
}

/* Sent by the library: serve a touch, or it cannot be served, which a system call
 * has told by EFAULT already. */
static bool on_sent(struct fault_area *area, siginfo_t *info, const void *context)
{
	void *addr = info->si_value.sival_ptr;
	int sent = info->si_errno;

	if (sent != SENT_REFUSED && serve_touch(area, addr, sent == SENT_STORE))
		return true;
	info->si_addr = addr;
	info->si_code = BUS_ADRERR;
	info->si_errno = 0;
	return sent == SENT_REFUSED && context_is_syscall(context);
}

static bool on_sigbus(siginfo_t *info, const void *context)
{
	bool write = context_is_write(context);
	struct fault_area *area;

	if (info->si_code == SI_QUEUE && info->si_pid == getpid()) {
		area = find_area(info->si_value.sival_ptr);
		return area && on_sent(area, info, context);
	}
	area = info->si_code > 0 ? find_area(info->si_addr) : NULL;
	return area && may_touch(area, write) && serve_touch(area, info->si_addr, write);
}

/*
 * The page was touched while what it is made of was changed.  This handler is on the
 * alternate stack if there is one, for the sake of others that report a stack
 * overflow, and such a stack is too small for a fault: the handler of SIGBUS, which
 * is held back until this one returns, serves it where the thread was interrupted.
 */
static bool go_on_as_sigbus(void *addr, bool write, const ucontext_t *interrupted)
{
	return !sigismember(&interrupted->uc_sigmask, SIGBUS) &&
	       !queue_sigbus(sys_gettid(), addr, write ? SENT_STORE : SENT_LOAD);
}

static void on_sigsegv(int sig, siginfo_t *info, void *context)
{
	struct fault_area *area = info->si_code > 0 ? find_area(info->si_addr) : NULL;
	bool write = context_is_write(context);

	if (!area || !may_touch(area, write) ||
	    !(go_on_as_sigbus(info->si_addr, write, context) ||
	      serve_touch(area, info->si_addr, write)))
		sys_pass_signal(&segv_before, sig, info, context);
}

/* table_lock held. */
static int arm_signals(void)
{
	struct sigaction action = {
		.sa_sigaction = on_sigsegv,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK,
	};
	int ret;

	if (have_segv)
		return 0;
	sigaddset(&action.sa_mask, SIGBUS);
	ret = sys_set_signal(SIGSEGV, &action, &segv_before);
	if (ret)
		return dax_error(ret, "no handler can be set for SIGSEGV");
	have_segv = true;
	copy_mc_ask_first(on_sigbus);
	return 0;
}

/* The last area is gone.  Somebody's handler that was put before ours stays. */
static void disarm_signals(void)
{
	struct sigaction now;

	if (!have_segv || sigaction(SIGSEGV, NULL, &now) ||
	    !(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_sigsegv)
		return;
	sigaction(SIGSEGV, &segv_before, NULL);
	copy_mc_ask_first(NULL);
	have_segv = false;
}

/* ---- attaching ------------------------------------------------------------------------ */

static bool any_area(void)
{
	bool any = false;

	for (unsigned int i = 0; i < nr_areas; i++)
		any |= READ_ONCE(areas[i]) != NULL;
	return any;
}

/* table_lock held. */
static int attach(struct fault_area *area)
{
	unsigned int place = 0;
	int ret = arm_signals();

	owner = getpid();
	while (!ret && place < nr_areas && READ_ONCE(areas[place]))
		place++;
	if (place == AREAS_MAX)
		ret = dax_error(-ENFILE, "a process has at most %d real mappings",
				AREAS_MAX);
	if (!ret && !area->signal)
		ret = watch(area, place);
	if (ret)
		return ret;
	smp_store_release(&areas[place], area);
	if (place == nr_areas)
		smp_store_release(&nr_areas, place + 1);
	return 0;
}

int fault_area_attach(struct fault_area *area)
{
	int ret;

	mutex_lock(&table_lock);
	ret = attach(area);
	mutex_unlock(&table_lock);
	return ret;
}

void fault_area_detach(struct fault_area *area)
{
	mutex_lock(&table_lock);
	for (unsigned int i = 0; i < nr_areas; i++)
		if (READ_ONCE(areas[i]) == area) {
			smp_store_release(&areas[i], NULL);
			if (!area->signal)
				epoll_ctl(epoll_fd, EPOLL_CTL_DEL, area->uffd, NULL);
		}
	mutex_lock(&area->serving);
	mutex_unlock(&area->serving);
	if (!any_area())
		disarm_signals();
	mutex_unlock(&table_lock);
}

/* ---- fork -------------------------------------------------------------------------------- */

static void fork_prepare(void)
{
	mutex_lock(&table_lock);
}

static void fork_parent(void)
{
	mutex_unlock(&table_lock);
}

/* Nobody serves the parent's areas here: who touches one dies, and reads no
 * zeroes where the parent has data. */
static void fork_child(void)
{
	for (unsigned int i = 0; i < nr_areas; i++) {
		struct fault_area *area = READ_ONCE(areas[i]);

		if (!area)
			continue;
		vm_area_replace(area->start, area->length);
		sys_close(area->uffd);
		area->uffd = -1;
		mutex_reset(&area->serving);
		smp_store_release(&areas[i], NULL);
	}
	if (epoll_fd >= 0)
		sys_close(epoll_fd);
	epoll_fd = -1;
	nr_waiting = 0;
	mutex_reset(&table_lock);
}

__attribute__((constructor)) static void fault_delivery_init(void)
{
	sys_at_fork(fork_prepare, fork_parent, fork_child);
}
