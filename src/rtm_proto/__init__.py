"""RTM's File API over FPNN as a sans-IO protocol framework."""
