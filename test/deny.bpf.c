// Programs of a cgroup that refuse its processes one thing each: 0 is a no.
#define SECTION(name) __attribute__((section(name), used))

SECTION("cgroup/connect4") int connect4(void *context) { return 0; }
SECTION("cgroup/connect6") int connect6(void *context) { return 0; }
SECTION("cgroup/bind4") int bind4(void *context) { return 0; }
SECTION("cgroup/bind6") int bind6(void *context) { return 0; }
SECTION("cgroup/sendmsg4") int sendmsg4(void *context) { return 0; }
SECTION("cgroup/sendmsg6") int sendmsg6(void *context) { return 0; }
SECTION("cgroup_skb/egress") int egress(void *context) { return 0; }

char _license[] SECTION("license") = "GPL";
