"""Web applications inside our programs: pages, APIs and folders, served by uvicorn."""
