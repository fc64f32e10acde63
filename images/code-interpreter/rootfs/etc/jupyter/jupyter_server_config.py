"""The Jupyter server of a sandbox. Who reaches its port has been let in by Wrenn: it asks for no token itself."""

c = get_config()  # noqa: F821

c.ServerApp.ip = "0.0.0.0"
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0
c.ServerApp.root_dir = "/home/user"
c.ServerApp.open_browser = False
c.ServerApp.allow_remote_access = True
c.IdentityProvider.token = ""
# Programs send no cookie. Pages of other origins are still refused: Jupyter compares Origin and Host.
c.ServerApp.disable_check_xsrf = True
c.ServerApp.shutdown_no_activity_timeout = 0

# Kernels talk over sockets in the file system: no ports that others of the guest could meet, nothing to reconnect
# when network connections are closed after a resume.
c.KernelManager.transport = "ipc"
# A kernel that died is found out about sooner than by default (3 s).
c.KernelRestarter.time_to_dead = 1.0
# A restarted kernel has the addresses of the one before it: clients stay connected.
c.KernelRestarter.random_ports_until_alive = False
