/*
 * A libnvidia-ml.so.1 without a GPU: what the binding calls, answered from a text file.
 *
 *     cc -shared -fPIC -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 nvml.c
 *     LD_LIBRARY_PATH=<its directory> STANDIN_NVML_STATE=<the file> orchestrator serve ...
 *
 * The file is read again at every call, so replacing it (write beside it, then rename) changes the
 * machine while programs look at it. No file, or no variable: the driver is not loaded. One fact a
 * line, words separated by blanks, `#` begins a comment, sizes in MiB:
 *
 *     driver 550.54                  version of the kernel module. Other than the version this
 *                                    library was compiled with (-DVERSION='"550.54"'): mismatch.
 *                                    `none`: not loaded. Without the line: it matches.
 *     hang                           every call blocks while the line is there
 *     grows 2                        the next 2 process lists are longer than the room given
 *     gpu GPU-aaaa total=24576 used=1000 [word ...]
 *     mig MIG-bbbb parent=GPU-aaaa total=4864 used=10 [word ...]
 *     process GPU-aaaa 1234 500      pid 1234 holds 500 MiB, on top of `used`
 *     process GPU-aaaa 1234 500 graphics    in the list of those that draw
 *     process GPU-aaaa 1234 500 alive       only as long as such a process runs here
 *     process GPU-aaaa 1234 unknown         listed without its size, as under WSL2
 *
 * Words of `gpu` and `mig`:
 *     name=Fast_GPU   underscores become blanks
 *     reserved=300    kept by the driver: `used` to version 1 of the memory query, apart in version 2
 *     util=35 temp=50 percent, degrees
 *     no-memory       the memory query is not supported; zero-memory: it answers zeros
 *     no-util no-temp no-processes   not supported
 *     no-permission   for everything beyond name and UUID
 *     lost            off the bus. As on a real machine it stays lost, without the word too, until
 *                     NVML is initialised again
 *     mig-mode        MIG is on (implied by a mig line)
 *     fpci            sits on the bus inside a system on a chip; ats: shares the page tables of
 *                     the processor; numa: is a NUMA node
 *
 * Old drivers are had by compiling: -DNO_MEMORY_V2, -DNO_PROCESSES_V3, -DNO_TEMPERATURE_V leave the
 * functions out.
 */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION "550.54"
#endif

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4,
    NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15,
    VERSION_MISMATCH = 18, ARGUMENT_VERSION_MISMATCH = 25
};
enum { DEVICES_MAX = 64, PROCESSES_MAX = 1024, NAME_MAX_ = 96, HANG_POLL_MS = 5 };
static const unsigned long long MIB = 1ull << 20, SIZE_UNKNOWN = ~0ull;

struct device {
    char uuid[NAME_MAX_], parent[NAME_MAX_], name[NAME_MAX_];
    unsigned long long total, used, reserved;
    int util, temp, is_mig;
    int no_memory, zero_memory, no_util, no_temp, no_processes, no_permission, lost, mig_mode;
    int fpci, ats, numa;
};

struct process {
    char uuid[NAME_MAX_];
    unsigned pid;
    unsigned long long bytes;
    int graphics;
};

struct state {
    int loaded, mismatch, hang, grows;
    int device_count, process_count;
    struct device devices[DEVICES_MAX];
    struct process processes[PROCESSES_MAX];
};

/* A handle is the address of a slot, which keeps the UUID: the file may change in between. */
static struct slot { char uuid[NAME_MAX_]; int lost; } slots[DEVICES_MAX];
static int slot_count, opened, grown;
static struct state now; /* guarded by `lock`, like everything here */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct slot *nvmlDevice_t;

/* --- the file ------------------------------------------------------------------------------- */

static void copy(char *to, const char *from) { snprintf(to, NAME_MAX_, "%s", from); }

static int find_device(const char *uuid)
{
    for (int i = 0; i < now.device_count; i++)
        if (strcmp(now.devices[i].uuid, uuid) == 0) return i;
    return -1;
}

static void take_word(struct device *device, const char *word)
{
    const char *value = strchr(word, '=');
    value = value ? value + 1 : "";
#define IS(key) (strncmp(word, key "=", sizeof key) == 0)
#define FLAG(key, field) if (strcmp(word, key) == 0) device->field = 1
    if (IS("total")) device->total = strtoull(value, NULL, 10) * MIB;
    if (IS("used")) device->used = strtoull(value, NULL, 10) * MIB;
    if (IS("reserved")) device->reserved = strtoull(value, NULL, 10) * MIB;
    if (IS("util")) device->util = atoi(value);
    if (IS("temp")) device->temp = atoi(value);
    if (IS("parent")) copy(device->parent, value);
    if (IS("name")) {
        copy(device->name, value);
        for (char *c = device->name; *c; c++) if (*c == '_') *c = ' ';
    }
    FLAG("no-memory", no_memory);
    FLAG("zero-memory", zero_memory);
    FLAG("no-util", no_util);
    FLAG("no-temp", no_temp);
    FLAG("no-processes", no_processes);
    FLAG("no-permission", no_permission);
    FLAG("lost", lost);
    FLAG("mig-mode", mig_mode);
    FLAG("fpci", fpci);
    FLAG("ats", ats);
    FLAG("numa", numa);
}

static void take_device(char **rest, int is_mig)
{
    char *uuid = strtok_r(NULL, " \t\n", rest), *word;
    if (!uuid || now.device_count == DEVICES_MAX) return;
    struct device *device = &now.devices[now.device_count++];
    memset(device, 0, sizeof *device);
    copy(device->uuid, uuid);
    copy(device->name, is_mig ? "Stand-in MIG" : "Stand-in GPU");
    device->temp = 40;
    device->is_mig = is_mig;
    while ((word = strtok_r(NULL, " \t\n", rest))) take_word(device, word);
    int parent = is_mig ? find_device(device->parent) : -1;
    if (parent >= 0) now.devices[parent].mig_mode = 1;
}

static void take_process(char **rest)
{
    char *uuid = strtok_r(NULL, " \t\n", rest), *pid = strtok_r(NULL, " \t\n", rest);
    char *size = strtok_r(NULL, " \t\n", rest), *word;
    if (!uuid || !pid || !size || now.process_count == PROCESSES_MAX) return;
    struct process *process = &now.processes[now.process_count];
    memset(process, 0, sizeof *process);
    copy(process->uuid, uuid);
    process->pid = (unsigned)strtoul(pid, NULL, 10);
    process->bytes = strcmp(size, "unknown") ? strtoull(size, NULL, 10) * MIB : SIZE_UNKNOWN;
    int counts = 1;
    while ((word = strtok_r(NULL, " \t\n", rest))) {
        if (strcmp(word, "graphics") == 0) process->graphics = 1;
        if (strcmp(word, "alive") == 0 && kill((pid_t)process->pid, 0) && errno == ESRCH) counts = 0;
    }
    now.process_count += counts;
}

static void read_state(void)
{
    const char *path = getenv("STANDIN_NVML_STATE");
    FILE *file = path ? fopen(path, "re") : NULL;
    now.loaded = file != NULL;
    now.mismatch = now.hang = now.grows = now.device_count = now.process_count = 0;
    if (!file) return;
    char line[1024];
    while (fgets(line, sizeof line, file)) {
        char *comment = strchr(line, '#'), *rest;
        if (comment) *comment = '\0';
        char *word = strtok_r(line, " \t\n", &rest);
        if (!word) continue;
        if (strcmp(word, "driver") == 0) {
            char *version = strtok_r(NULL, " \t\n", &rest);
            now.loaded = version && strcmp(version, "none") != 0;
            now.mismatch = now.loaded && strcmp(version, VERSION) != 0;
        }
        if (strcmp(word, "hang") == 0) now.hang = 1;
        if (strcmp(word, "grows") == 0) {
            char *count = strtok_r(NULL, " \t\n", &rest);
            now.grows = count ? atoi(count) : 0;
        }
        if (strcmp(word, "gpu") == 0) take_device(&rest, 0);
        if (strcmp(word, "mig") == 0) take_device(&rest, 1);
        if (strcmp(word, "process") == 0) take_process(&rest);
    }
    fclose(file);
}

/* --- what every call begins with --------------------------------------------------------------- */

static int begin_driver(void)
{
    struct timespec pause = {0, HANG_POLL_MS * 1000000L};
    for (read_state(); now.hang; read_state()) nanosleep(&pause, NULL);
    if (!now.loaded) return DRIVER_NOT_LOADED;
    return now.mismatch ? VERSION_MISMATCH : SUCCESS;
}

static int begin(void)
{
    return opened ? begin_driver() : UNINITIALIZED;
}

/* The device behind a handle. An instance is lost with its GPU. */
static int begin_device(nvmlDevice_t handle, struct device **device)
{
    int status = begin();
    if (status != SUCCESS) return status;
    if (handle < slots || handle >= slots + slot_count) return INVALID_ARGUMENT;
    int found = find_device(handle->uuid);
    if (found < 0) { handle->lost = 1; return GPU_IS_LOST; }
    *device = &now.devices[found];
    int parent = (*device)->is_mig ? find_device((*device)->parent) : -1;
    if ((*device)->lost || (parent >= 0 && now.devices[parent].lost)) handle->lost = 1;
    return handle->lost ? GPU_IS_LOST : SUCCESS;
}

static int begin_permitted(nvmlDevice_t handle, struct device **device)
{
    int status = begin_device(handle, device);
    return status == SUCCESS && (*device)->no_permission ? NO_PERMISSION : status;
}

static nvmlDevice_t slot_of(const char *uuid)
{
    for (int i = 0; i < slot_count; i++)
        if (strcmp(slots[i].uuid, uuid) == 0) return &slots[i];
    if (slot_count == DEVICES_MAX) return NULL;
    copy(slots[slot_count].uuid, uuid);
    return &slots[slot_count++];
}

static int hand_out(const char *uuid, nvmlDevice_t *handle)
{
    struct device *device;
    *handle = slot_of(uuid);
    return *handle ? begin_device(*handle, &device) : INVALID_ARGUMENT;
}

/* The nth device of a kind; of MIG instances, of one parent. NULL if there are fewer. */
static struct device *nth(unsigned index, const char *parent)
{
    for (int i = 0; i < now.device_count; i++) {
        struct device *device = &now.devices[i];
        int fits = parent ? device->is_mig && strcmp(device->parent, parent) == 0 : !device->is_mig;
        if (fits && index-- == 0) return device;
    }
    return NULL;
}

static int put(char *to, unsigned room, const char *text)
{
    if (strlen(text) >= room) return INSUFFICIENT_SIZE;
    strcpy(to, text);
    return SUCCESS;
}

#define CALL(name, parameters, body) \
    static int name##_locked parameters body \
    int name parameters

#define LOCKED(call) \
    { \
        pthread_mutex_lock(&lock); \
        int status = call; \
        pthread_mutex_unlock(&lock); \
        return status; \
    }

/* --- the driver as a whole --------------------------------------------------------------------- */

CALL(nvmlInitWithFlags, (unsigned flags), {
    (void)flags;
    int status = begin_driver();
    if (status != SUCCESS) return status;
    if (opened++ == 0)
        for (int i = 0; i < slot_count; i++) slots[i].lost = 0;
    return SUCCESS;
})
LOCKED(nvmlInitWithFlags_locked(flags))

CALL(nvmlShutdown, (void), {
    if (!opened) return UNINITIALIZED;
    opened--;
    return SUCCESS;
})
LOCKED(nvmlShutdown_locked())

const char *nvmlErrorString(int status)
{
    return status == SUCCESS ? "Success" : "Stand-in error";
}

CALL(nvmlSystemGetDriverVersion, (char *version, unsigned room), {
    int status = begin();
    return status == SUCCESS ? put(version, room, VERSION) : status;
})
LOCKED(nvmlSystemGetDriverVersion_locked(version, room))

CALL(nvmlSystemGetNVMLVersion, (char *version, unsigned room), {
    return put(version, room, "12." VERSION);
})
LOCKED(nvmlSystemGetNVMLVersion_locked(version, room))

CALL(nvmlDeviceGetCount_v2, (unsigned *count), {
    int status = begin();
    for (*count = 0; status == SUCCESS && nth(*count, NULL); (*count)++) {}
    return status;
})
LOCKED(nvmlDeviceGetCount_v2_locked(count))

CALL(nvmlDeviceGetHandleByIndex_v2, (unsigned index, nvmlDevice_t *handle), {
    int status = begin();
    if (status != SUCCESS) return status;
    struct device *device = nth(index, NULL);
    return device ? hand_out(device->uuid, handle) : INVALID_ARGUMENT;
})
LOCKED(nvmlDeviceGetHandleByIndex_v2_locked(index, handle))

CALL(nvmlDeviceGetHandleByUUID, (const char *uuid, nvmlDevice_t *handle), {
    int status = begin();
    if (status != SUCCESS) return status;
    return find_device(uuid) >= 0 ? hand_out(uuid, handle) : NOT_FOUND;
})
LOCKED(nvmlDeviceGetHandleByUUID_locked(uuid, handle))

/* --- one device --------------------------------------------------------------------------------- */

CALL(nvmlDeviceGetUUID, (nvmlDevice_t handle, char *uuid, unsigned room), {
    struct device *device;
    int status = begin_device(handle, &device);
    return status == SUCCESS ? put(uuid, room, device->uuid) : status;
})
LOCKED(nvmlDeviceGetUUID_locked(handle, uuid, room))

CALL(nvmlDeviceGetName, (nvmlDevice_t handle, char *name, unsigned room), {
    struct device *device;
    int status = begin_device(handle, &device);
    return status == SUCCESS ? put(name, room, device->name) : status;
})
LOCKED(nvmlDeviceGetName_locked(handle, name, room))

struct memory_v1 { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };

static unsigned long long taken_bytes(const struct device *device)
{
    unsigned long long bytes = device->used;
    for (int i = 0; i < now.process_count; i++) {
        const struct process *process = &now.processes[i];
        if (process->bytes != SIZE_UNKNOWN && strcmp(process->uuid, device->uuid) == 0)
            bytes += process->bytes;
    }
    unsigned long long room = device->total - device->reserved;
    return bytes < room ? bytes : room;
}

static int memory_of(nvmlDevice_t handle, struct memory_v2 *memory)
{
    struct device *device;
    int status = begin_permitted(handle, &device);
    if (status != SUCCESS) return status;
    if (device->no_memory) return NOT_SUPPORTED;
    memory->total = memory->reserved = memory->free = memory->used = 0;
    if (device->zero_memory) return SUCCESS;
    memory->total = device->total;
    memory->reserved = device->reserved;
    memory->used = taken_bytes(device);
    memory->free = device->total - device->reserved - memory->used;
    return SUCCESS;
}

CALL(nvmlDeviceGetMemoryInfo, (nvmlDevice_t handle, struct memory_v1 *memory), {
    struct memory_v2 all;
    int status = memory_of(handle, &all);
    if (status != SUCCESS) return status;
    memory->total = all.total;
    memory->free = all.free;
    memory->used = all.used + all.reserved;
    return SUCCESS;
})
LOCKED(nvmlDeviceGetMemoryInfo_locked(handle, memory))

#ifndef NO_MEMORY_V2
CALL(nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t handle, struct memory_v2 *memory), {
    if (memory->version != (sizeof *memory | 2u << 24)) return ARGUMENT_VERSION_MISMATCH;
    return memory_of(handle, memory);
})
LOCKED(nvmlDeviceGetMemoryInfo_v2_locked(handle, memory))
#endif

struct utilization { unsigned gpu, memory; };

CALL(nvmlDeviceGetUtilizationRates, (nvmlDevice_t handle, struct utilization *rates), {
    struct device *device;
    int status = begin_permitted(handle, &device);
    if (status != SUCCESS) return status;
    if (device->no_util || device->is_mig) return NOT_SUPPORTED;
    rates->gpu = (unsigned)device->util;
    rates->memory = 0;
    return SUCCESS;
})
LOCKED(nvmlDeviceGetUtilizationRates_locked(handle, rates))

static int temperature_of(nvmlDevice_t handle, int *degrees)
{
    struct device *device;
    int status = begin_permitted(handle, &device);
    if (status != SUCCESS) return status;
    if (device->no_temp || device->is_mig) return NOT_SUPPORTED;
    *degrees = device->temp;
    return SUCCESS;
}

CALL(nvmlDeviceGetTemperature, (nvmlDevice_t handle, int sensor, unsigned *degrees), {
    return sensor == 0 ? temperature_of(handle, (int *)degrees) : INVALID_ARGUMENT;
})
LOCKED(nvmlDeviceGetTemperature_locked(handle, sensor, degrees))

#ifndef NO_TEMPERATURE_V
struct temperature { unsigned version; int sensor, degrees; };

CALL(nvmlDeviceGetTemperatureV, (nvmlDevice_t handle, struct temperature *reading), {
    if (reading->version != (sizeof *reading | 1u << 24)) return ARGUMENT_VERSION_MISMATCH;
    return reading->sensor == 0 ? temperature_of(handle, &reading->degrees) : INVALID_ARGUMENT;
})
LOCKED(nvmlDeviceGetTemperatureV_locked(handle, reading))
#endif

CALL(nvmlDeviceGetBusType, (nvmlDevice_t handle, unsigned *bus), {
    struct device *device;
    int status = begin_device(handle, &device);
    if (status == SUCCESS) *bus = device->fpci ? 3 : 2;
    return status;
})
LOCKED(nvmlDeviceGetBusType_locked(handle, bus))

struct addressing { unsigned version, mode; };

CALL(nvmlDeviceGetAddressingMode, (nvmlDevice_t handle, struct addressing *addressing), {
    struct device *device;
    int status = begin_device(handle, &device);
    if (status == SUCCESS) addressing->mode = device->ats ? 2 : 0;
    return status;
})
LOCKED(nvmlDeviceGetAddressingMode_locked(handle, addressing))

CALL(nvmlDeviceGetNumaNodeId, (nvmlDevice_t handle, int *node), {
    struct device *device;
    int status = begin_device(handle, &device);
    if (status != SUCCESS) return status;
    *node = 1;
    return device->numa ? SUCCESS : NOT_SUPPORTED;
})
LOCKED(nvmlDeviceGetNumaNodeId_locked(handle, node))

/* --- processes ---------------------------------------------------------------------------------- */

struct process_entry { unsigned pid; unsigned long long bytes; unsigned gpu, compute; };

/* Like the real one: too little room is told together with the room that is needed. */
static int list_processes(nvmlDevice_t handle, unsigned *room, struct process_entry *out, int graphics)
{
    struct device *device;
    int status = begin_permitted(handle, &device);
    if (status != SUCCESS) return status;
    if (device->no_processes) return NOT_SUPPORTED;
    unsigned needed = 0;
    for (int i = 0; i < now.process_count; i++) {
        const struct process *process = &now.processes[i];
        if (process->graphics != graphics || strcmp(process->uuid, device->uuid)) continue;
        if (out && needed < *room)
            out[needed] = (struct process_entry){process->pid, process->bytes, ~0u, ~0u};
        needed++;
    }
    if (now.grows == 0) grown = 0;
    if (out && grown < now.grows) {
        grown++;
        needed = *room + 1;
    }
    status = needed > *room ? INSUFFICIENT_SIZE : SUCCESS;
    *room = needed;
    return status;
}

#define LIST(name, graphics) \
    CALL(name, (nvmlDevice_t handle, unsigned *room, struct process_entry *out), { \
        return list_processes(handle, room, out, graphics); \
    }) \
    LOCKED(name##_locked(handle, room, out))

LIST(nvmlDeviceGetComputeRunningProcesses_v2, 0)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, 1)
#ifndef NO_PROCESSES_V3
LIST(nvmlDeviceGetComputeRunningProcesses_v3, 0)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, 1)
#endif

/* --- MIG ---------------------------------------------------------------------------------------- */

CALL(nvmlDeviceGetMigMode, (nvmlDevice_t handle, unsigned *mode, unsigned *pending), {
    struct device *device;
    int status = begin_device(handle, &device);
    if (status == SUCCESS) *mode = *pending = (unsigned)device->mig_mode;
    return status;
})
LOCKED(nvmlDeviceGetMigMode_locked(handle, mode, pending))

CALL(nvmlDeviceGetMaxMigDeviceCount, (nvmlDevice_t handle, unsigned *count), {
    struct device *device;
    *count = 7;
    return begin_device(handle, &device);
})
LOCKED(nvmlDeviceGetMaxMigDeviceCount_locked(handle, count))

CALL(nvmlDeviceGetMigDeviceHandleByIndex,
     (nvmlDevice_t parent, unsigned index, nvmlDevice_t *handle), {
    struct device *device;
    int status = begin_device(parent, &device);
    if (status != SUCCESS) return status;
    struct device *instance = nth(index, parent->uuid);
    return instance ? hand_out(instance->uuid, handle) : NOT_FOUND;
})
LOCKED(nvmlDeviceGetMigDeviceHandleByIndex_locked(parent, index, handle))

CALL(nvmlDeviceGetDeviceHandleFromMigDeviceHandle, (nvmlDevice_t mig, nvmlDevice_t *handle), {
    struct device *device;
    int status = begin_device(mig, &device);
    if (status != SUCCESS) return status;
    return device->is_mig ? hand_out(device->parent, handle) : INVALID_ARGUMENT;
})
LOCKED(nvmlDeviceGetDeviceHandleFromMigDeviceHandle_locked(mig, handle))

CALL(nvmlDeviceIsMigDeviceHandle, (nvmlDevice_t handle, unsigned *is_mig), {
    struct device *device;
    int status = begin_device(handle, &device);
    if (status == SUCCESS) *is_mig = (unsigned)device->is_mig;
    return status;
})
LOCKED(nvmlDeviceIsMigDeviceHandle_locked(handle, is_mig))
