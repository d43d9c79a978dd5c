module cpi-hub/sdk/go

go 1.19
