/* SPDX-License-Identifier: BSD-3-Clause */
/* test_sys.c -- memory, files, locks and futexes behind the one door */
#define _GNU_SOURCE
#include "sys.h"

#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>

#include "oom.h"
#include "tap.h"
#include "tmpdir.h"

/* ---- memory -------------------------------------------------------------------- */

static bool all_zero(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static void allocations(void)
{
	const size_t sizes[] = { 1, 63, 64, 65, 127, 128, 129, 5000 };

	for (int i = 0; i < 8; i++) {
		char *line = dax_zalloc(sizes[i]), *apart = dax_zalloc_apart(sizes[i]);

		MUST(line && apart);
		EQ((uintptr_t)line % CACHELINE, 0);
		EQ((uintptr_t)apart % FALSE_SHARING, 0);
		CHECK(all_zero(line, sizes[i]) && all_zero(apart, sizes[i]));
		memset(line, 1, sizes[i]);
		memset(apart, 1, sizes[i]);
		dax_free(line);
		dax_free(apart);
	}
	CHECK(!dax_zalloc(SIZE_MAX) && !dax_zalloc(SIZE_MAX - 10));
	CHECK(!dax_zalloc_apart(SIZE_MAX - 100));
	dax_free(NULL);
}

static void pages(void)
{
	char *page = dax_alloc_page();

	MUST(page);
	EQ((uintptr_t)page % 4096, 0);
	memset(page, 7, 4096);
	dax_free(page);
}

static void seam(void)
{
	void *addr = NULL;

	oom_fail_nth(1);
	CHECK(!dax_zalloc(10) && oom_fired());
	oom_fail_nth(1);
	CHECK(!dax_zalloc_apart(10) && oom_fired());
	oom_fail_nth(1);
	CHECK(!dax_alloc_page() && oom_fired());
	oom_fail_nth(1);
	EQ(sys_reserve(&addr, 4096), -ENOMEM);
	CHECK(oom_fired() && !addr);
	oom_clear();
}

static void reservations(void)
{
	const size_t size = (size_t)1 << 40;
	void *addr = NULL, *small = NULL;
	char *readonly;

	EQ(sys_reserve(&addr, size), 0);	/* costs nothing until touched */
	((char *)addr)[size - 1] = 1;
	EQ(((char *)addr)[0], 0);
	sys_unreserve(addr, size);
	sys_unreserve(NULL, 4096);
	EQ(sys_reserve(&small, 1 << 20), 0);
	sys_nohugepage(small, 1 << 20);
	EQ(sys_populate_write(small, 1 << 20), 0);
	CHECK(all_zero(small, 1 << 20));
	sys_unreserve(small, 1 << 20);
	small = (void *)4096;
	EQ(sys_reserve(&small, SIZE_MAX / 2), -ENOMEM);
	CHECK(small == (void *)4096);
	readonly = sys_reserve_readonly(4096, 1 << 21);
	MUST(readonly);
	EQ((uintptr_t)readonly % (1 << 21), 0);
	CHECK(all_zero(readonly, 4096));
	CHECK(sys_available_memory() > 1 << 20);
}

static void clock_goes_on(void)
{
	uint64_t before = sys_clock_ns(), after;

	usleep(2000);
	after = sys_clock_ns();
	CHECK(after - before >= 2000000 && after - before < UINT64_C(20000000000));
}

/* ---- files ----------------------------------------------------------------------- */

static void open_and_look(void)
{
	struct sys_file_info info = { .size = 77 };
	const char *path = tmp_file("seven", 7, 'x');
	int fd = sys_open(path, false);

	MUST(fd >= 0);
	EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	EQ(sys_file_info(fd, &info), 0);
	EQ(info.kind, SYS_FILE_REGULAR);
	EQ(info.size, 7);
	EQ(sys_truncate(fd, 3), -EINVAL);	/* opened to read */
	sys_close(fd);
	EQ(sys_file_info(fd, &info), -EBADF);
	fd = sys_open(path, true);
	EQ(sys_truncate(fd, 8192), 0);
	EQ(file_size(path), 8192);
	EQ(sys_allocate(fd, 8192, 4096), 0);
	EQ(file_size(path), 12288);
	sys_close(fd);
	EQ(sys_open(tmp_path("missing"), false), -ENOENT);
	EQ(sys_create_new(path), -EEXIST);
	EQ(file_size(path), 12288);
	sys_unlink(path);
	EQ(file_size(path), -1);
	fd = sys_create_new(path);
	CHECK(fd >= 0);
	EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	sys_close(fd);
}

static void kinds(void)
{
	struct sys_file_info info;
	int fd = sys_open(tmpdir, false);

	EQ(sys_file_info(fd, &info), 0);
	EQ(info.kind, SYS_FILE_DIR);
	sys_close(fd);
	EQ(sys_open(tmpdir, true), -EISDIR);
	fd = sys_open("/dev/null", true);
	EQ(sys_file_info(fd, &info), 0);
	EQ(info.kind, SYS_FILE_CHAR);
	EQ(info.rdev_major, 1);
	EQ(info.rdev_minor, 3);
	sys_close(fd);
	MUST(!mkfifo(tmp_path("fifo"), 0600));
	fd = sys_open(tmp_path("fifo"), false);	/* does not hang */
	EQ(sys_file_info(fd, &info), 0);
	EQ(info.kind, SYS_FILE_OTHER);
	sys_close(fd);
}

/* Holes, what is set aside, sizes, times: one file, asked in every way. */
static void sparse_calls(void)
{
	int fd = open(tmp_path("sparse"), O_RDWR | O_CREAT | O_EXCL, 0600);
	struct sys_file_info before, after;
	uint64_t start, end;
	char buf[8192];
	int copy;

	MUST(fd >= 0 && !sys_truncate(fd, 1 << 20));
	EQ(sys_seek_data(fd, 0), -ENXIO);
	EQ(sys_seek_hole(fd, 5), 5);
	MUST(!sys_file_info(fd, &before));
	memset(buf, 'a', sizeof(buf));
	EQ(sys_pwrite(fd, buf, sizeof(buf), 65536), sizeof(buf));
	MUST(!sys_file_info(fd, &after));
	CHECK(after.ctime_ns >= before.ctime_ns && after.ctime_ns <= sys_clock_real_ns());
	CHECK(after.ino == before.ino && after.dev == before.dev && after.ino);
	EQ(after.allocated - before.allocated, sizeof(buf));
	EQ(sys_seek_data(fd, 0), 65536);
	EQ(sys_seek_hole(fd, 65536), 65536 + 8192);
	EQ(sys_pread(fd, buf, sizeof(buf), (1 << 20) - 100), 100);
	CHECK(all_zero(buf, 100));
	EQ(sys_pread(fd, buf, 10, 1 << 20), 0);
	EQ(sys_punch(fd, 65536, 4096), 0);
	EQ(sys_seek_data(fd, 0), 65536 + 4096);
	EQ(sys_allocate_keep_size(fd, 2 << 20, 4096), 0);
	MUST(!sys_file_info(fd, &after));
	EQ(after.size, 1 << 20);
	EQ(sys_fdatasync(fd), 0);
	if (sys_fiemap(fd, 0, 1 << 20, &start, &end) != -EOPNOTSUPP) {
		EQ(sys_fiemap(fd, 0, 1 << 20, &start, &end), 1);
		EQ(start, 65536 + 4096);
		EQ(end, 65536 + 8192);
		EQ(sys_fiemap(fd, 0, 4096, &start, &end), 0);
	}
	copy = sys_dup(fd);
	CHECK(copy >= 0 && sys_dup_over(copy, copy) == -EINVAL);
	sys_close(copy);
	sys_close(fd);
	EQ(sys_seek_data(fd, 0), -EBADF);
	EQ(sys_pwrite(fd, buf, 1, 0), -EBADF);
	EQ(sys_pread(fd, buf, 1, 0), -EBADF);
}

static int refuse(const char *name)
{
	return strcmp(name, "pwrite") && strcmp(name, "flock") ? 0 : -EIO;
}

static void system_calls_can_fail(void)
{
	int fd = open(tmp_path("refused"), O_RDWR | O_CREAT | O_EXCL, 0600);

	MUST(fd >= 0);
	dax_test.fail_sys = refuse;
	EQ(sys_pwrite(fd, "a", 1, 0), -EIO);
	EQ(sys_lock_file_shared(fd), -EIO);
	EQ(sys_truncate(fd, 10), 0);
	dax_test.fail_sys = NULL;
	EQ(sys_pwrite(fd, "a", 1, 0), 1);
	sys_close(fd);
}

static void memfd(void)
{
	int fd = sys_memfd("test");
	void *addr = NULL;

	MUST(fd >= 0);
	EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	EQ(sys_truncate(fd, 8192), 0);
	EQ(sys_seal_shrink(fd), 0);
	EQ(sys_truncate(fd, 4096), -EPERM);
	EQ(sys_map_shared(&addr, fd, 8192, true), 0);
	((char *)addr)[5] = 9;
	CHECK(pread(fd, addr, 1, 5) == 1 && ((char *)addr)[0] == 9);
	sys_unreserve(addr, 8192);
	sys_close(fd);
	EQ(sys_map_shared(&addr, fd, 8192, true), -EBADF);
}

static void file_locks(void)
{
	const char *path = tmp_file("locked", 1, 0);
	int first = sys_open(path, true), second = sys_open(path, false);

	EQ(sys_lock_holder(second), 0);
	EQ(sys_lock_file(first), 0);
	EQ(sys_lock_file(second), -EBUSY);
	CHECK(sys_lock_holder(second) == getpid() || sys_lock_holder(second) == 0);
	sys_close(first);
	EQ(sys_lock_file(second), 0);
	sys_close(second);
	EQ(sys_lock_file(second), -EBADF);
}

static void small_files(void)
{
	char buf[16];

	EQ(sys_read_line(tmp_file("abc", 3, 'a'), buf, sizeof(buf)), 0);
	CHECK(!strcmp(buf, "aaa"));
	EQ(sys_read_line(tmp_file("long", 100, 'b'), buf, sizeof(buf)), 0);
	EQ(strlen(buf), 15);
	EQ(sys_read_line(tmp_file("empty", 0, 0), buf, sizeof(buf)), -EIO);
	EQ(sys_read_line(tmp_path("missing"), buf, sizeof(buf)), -ENOENT);
	MUST(!symlink("0123456789abcdefgh", tmp_path("link")));
	EQ(sys_read_link(tmp_path("link"), buf, sizeof(buf)), 0);
	CHECK(!strcmp(buf, "0123456789abcde"));
	EQ(sys_read_link(tmp_path("missing"), buf, sizeof(buf)), -ENOENT);
}

/* ---- waiting ----------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 50000 };

static struct mutex lock;
static uint64_t counter;	/* plain: the mutex guards it */

static void *count(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		mutex_lock(&lock);
		counter++;
		if (i % 1000 == 0)
			sched_yield();	/* so that others sleep for it */
		mutex_unlock(&lock);
	}
	return arg;
}

static void mutexes(void)
{
	pthread_t thread[THREADS];

	for (int i = 0; i < THREADS; i++)
		MUST(!pthread_create(&thread[i], NULL, count, NULL));
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	EQ(counter, THREADS * ROUNDS);
	EQ(lock.state, 0);
	mutex_lock(&lock);
	mutex_reset(&lock);
	mutex_lock(&lock);
	mutex_unlock(&lock);
}

static _Atomic int holder;

static void *take_it(void *arg)
{
	mutex_lock(&lock);
	holder = 2;
	mutex_unlock(&lock);
	return arg;
}

/* Who comes second sleeps until the first lets go, and is woken then. */
static void mutex_is_waited_for(void)
{
	pthread_t thread;

	mutex_lock(&lock);
	holder = 1;
	MUST(!pthread_create(&thread, NULL, take_it, NULL));
	while (lock.state != 2 && holder == 1)
		sched_yield();
	for (int i = 0; i < 100; i++)
		sched_yield();
	EQ(holder, 1);
	EQ(lock.state, 2);
	mutex_unlock(&lock);
	pthread_join(thread, NULL);
	EQ(holder, 2);
}

static _Atomic uint32_t bell;
static _Atomic bool rung;

static void *sleep_for_bell(void *arg)
{
	while (!bell)
		futex_wait(&bell, 0);
	rung = true;
	return arg;
}

static void futexes(void)
{
	pthread_t thread;

	bell = 1;
	futex_wait(&bell, 0);	/* differs: returns at once */
	bell = 0;
	MUST(!pthread_create(&thread, NULL, sleep_for_bell, NULL));
	for (int i = 0; i < 100; i++)
		sched_yield();
	CHECK(!rung);
	bell = 1;
	futex_wake(&bell, 1);
	pthread_join(thread, NULL);
	CHECK(rung);
	futex_wake(NULL, 1);	/* an address that is gone harms nobody */
}

static void *look_at_signals(void *arg)
{
	sigset_t blocked;

	MUST(!pthread_sigmask(SIG_SETMASK, NULL, &blocked));
	atomic_store((_Atomic int *)arg, 1 + sigismember(&blocked, SIGINT) +
					 sigismember(&blocked, SIGBUS));
	return NULL;
}

static void threads(void)
{
	static _Atomic int seen;
	sigset_t blocked;

	EQ(sys_create_thread(look_at_signals, &seen, 1 << 20), 0);
	while (!atomic_load(&seen))
		usleep(1000);
	EQ(atomic_load(&seen), 3);
	EQ(sys_create_thread(look_at_signals, &seen, (size_t)1 << 50), -ENOMEM);
	MUST(!pthread_sigmask(SIG_SETMASK, NULL, &blocked));
	CHECK(!sigismember(&blocked, SIGINT));
}

static void generations(void)
{
	unsigned int before = sys_fork_generation;
	int status = 1;
	pid_t child = fork();

	if (child == 0)
		_exit(sys_fork_generation != before + 1);
	MUST(child > 0 && waitpid(child, &status, 0) == child);
	EQ(status, 0);
	EQ(sys_fork_generation, before);
}

int main(void)
{
	plan(18);
	tmpdir_make();
	run("sparse files", sparse_calls);
	run("system calls can fail", system_calls_can_fail);
	run("allocations are zeroed and aligned, or refused", allocations);
	run("pages", pages);
	run("each way to get memory can be made to fail", seam);
	run("address space", reservations);
	run("the clock", clock_goes_on);
	run("files are opened, grown and removed", open_and_look);
	run("kinds of files", kinds);
	run("a sealed memfd does not shrink", memfd);
	run("a second open is busy", file_locks);
	run("lines and links", small_files);
	run("a mutex counts right", mutexes);
	run("a mutex is waited for", mutex_is_waited_for);
	run("a futex sleeps and wakes", futexes);
	run("barriers may be called anywhere", asym_barrier_heavy);
	run("a thread that no signal comes to, or none", threads);
	run("a forked child knows that it is one", generations);
	return done();
}
