# Everything is done by scripts/main.ts, run with the Node that the checkout pins.
run = @scripts/bootstrap.sh scripts/main.ts

.PHONY: up down clean build image-code-interpreter test check format kvm-host bench
.DEFAULT_GOAL := up

up: ; $(run) up
down: ; $(run) down
clean: ; $(run) clean
build: ; $(run) build
image-code-interpreter: ; $(run) image-code-interpreter
test: ; $(run) test
check: ; $(run) check
format: ; $(run) format
bench: ; $(run) bench
kvm-host: ; $(run) kvm-host
